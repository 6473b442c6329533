/* SPDX-License-Identifier: MIT */
/*
 * plx_switch on x86-64. A context points to:
 *
 *   0 MXCSR   4 x87 control word   8 r15   16 r14   24 r13   32 r12   40 rbx   48 rbp   56 rip
 *
 * Control words are written back without a look whether they differ: to read what has just been
 * stored, in order to compare it, costs more than to write. The way back is a jump rather than a
 * return: the return predictor has noted another caller, while a jump is predicted from where it
 * went the last time.
 */
#if defined(__x86_64__)

    .text

/* void *plx_switch(void **from, void *to, void *value) */
    .globl  plx_switch
    .type   plx_switch, @function
    .p2align 6
plx_switch:
    .cfi_startproc
    endbr64
    leaq    -56(%rsp), %rsp
    .cfi_adjust_cfa_offset 56
    stmxcsr (%rsp)
    fnstcw  4(%rsp)
    movq    %r15, 8(%rsp)
    movq    %r14, 16(%rsp)
    movq    %r13, 24(%rsp)
    movq    %r12, 32(%rsp)
    movq    %rbx, 40(%rsp)
    movq    %rbp, 48(%rsp)
    .cfi_rel_offset r15, 8
    .cfi_rel_offset r14, 16
    .cfi_rel_offset r13, 24
    .cfi_rel_offset r12, 32
    .cfi_rel_offset rbx, 40
    .cfi_rel_offset rbp, 48
    movq    %rsp, (%rdi)

    /* The other stack looks the same from here, so the unwinding rules stay true. */
    movq    %rsi, %rsp
    movq    56(%rsi), %rcx
    ldmxcsr (%rsi)
    fldcw   4(%rsi)
    movq    8(%rsi), %r15
    movq    16(%rsi), %r14
    movq    24(%rsi), %r13
    movq    32(%rsi), %r12
    movq    40(%rsi), %rbx
    movq    48(%rsi), %rbp
    .cfi_restore r15
    .cfi_restore r14
    .cfi_restore r13
    .cfi_restore r12
    .cfi_restore rbx
    .cfi_restore rbp
    leaq    64(%rsp), %rsp
    .cfi_def_cfa_offset 0
    .cfi_register rip, rcx
    movq    %rdx, %rax
    notrack jmp *%rcx
    .cfi_endproc
    .size   plx_switch, . - plx_switch

/* void *plx_switch_prepare(void *top, plx_switch_fn fn) */
    .globl  plx_switch_prepare
    .type   plx_switch_prepare, @function
    .p2align 4
plx_switch_prepare:
    .cfi_startproc
    endbr64
    /* 16 bytes at the top stay zero: a debugger without the rules below finds the end, too. */
    leaq    -80(%rdi), %rax
    xorl    %ecx, %ecx
    stmxcsr (%rax)
    fnstcw  4(%rax)
    movw    %cx, 6(%rax)
    movq    %rcx, 8(%rax)
    movq    %rcx, 16(%rax)
    movq    %rcx, 24(%rax)
    movq    %rcx, 32(%rax)
    movq    %rsi, 40(%rax)
    movq    %rcx, 48(%rax)
    leaq    plx__switch_entry(%rip), %rdx
    movq    %rdx, 56(%rax)
    movq    %rcx, 64(%rax)
    movq    %rcx, 72(%rax)
    ret
    .cfi_endproc
    .size   plx_switch_prepare, . - plx_switch_prepare

/* Where a prepared stack begins: no caller lies behind it. */
    .globl  plx__switch_entry
    .hidden plx__switch_entry
    .type   plx__switch_entry, @function
    .p2align 4
plx__switch_entry:
    .cfi_startproc
    .cfi_undefined rip
    .cfi_undefined rbp
    endbr64
    movq    %rax, %rdi
    call    *%rbx
    ud2
    .cfi_endproc
    .size   plx__switch_entry, . - plx__switch_entry

/* Fit for branch tracking (bit 0), not for shadow stacks (bit 1). */
    .section .note.gnu.property, "a"
    .p2align 3
    .long   4
    .long   16
    .long   5
    .asciz  "GNU"
    .long   0xc0000002
    .long   4
    .long   1
    .long   0

#endif

    .section .note.GNU-stack, "", %progbits
