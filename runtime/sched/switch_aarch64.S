/* SPDX-License-Identifier: MIT */
/*
 * plx_switch on aarch64. A context points to:
 *
 *   0 x19 … 88 x30   96 d8 … 152 d15   160 FPCR   168 unused
 *
 * FPCR is written only where it differs. Return addresses that are signed stay valid: they were
 * signed with the stack pointer of the frame that they return to.
 */
#if defined(__aarch64__)

#define FRAME 176

    .text

/* void *plx_switch(void **from, void *to, void *value) */
    .globl  plx_switch
    .type   plx_switch, %function
    .p2align 6
plx_switch:
    .cfi_startproc
    hint    #34                         /* bti c */
    sub     sp, sp, #FRAME
    .cfi_adjust_cfa_offset FRAME
    stp     x19, x20, [sp, #0]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    .cfi_rel_offset x19, 0
    .cfi_rel_offset x20, 8
    .cfi_rel_offset x21, 16
    .cfi_rel_offset x22, 24
    .cfi_rel_offset x23, 32
    .cfi_rel_offset x24, 40
    .cfi_rel_offset x25, 48
    .cfi_rel_offset x26, 56
    .cfi_rel_offset x27, 64
    .cfi_rel_offset x28, 72
    .cfi_rel_offset x29, 80
    .cfi_rel_offset x30, 88
    stp     d8, d9, [sp, #96]
    stp     d10, d11, [sp, #112]
    stp     d12, d13, [sp, #128]
    stp     d14, d15, [sp, #144]
    mrs     x9, fpcr
    str     x9, [sp, #160]
    mov     x10, sp
    str     x10, [x0]

    /* The other stack looks the same from here, so the unwinding rules stay true. */
    mov     sp, x1
    ldr     x11, [sp, #160]
    cmp     x9, x11
    b.eq    1f
    msr     fpcr, x11
1:  ldp     d8, d9, [sp, #96]
    ldp     d10, d11, [sp, #112]
    ldp     d12, d13, [sp, #128]
    ldp     d14, d15, [sp, #144]
    ldp     x19, x20, [sp, #0]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    add     sp, sp, #FRAME
    .cfi_def_cfa_offset 0
    .cfi_restore x19
    .cfi_restore x20
    .cfi_restore x21
    .cfi_restore x22
    .cfi_restore x23
    .cfi_restore x24
    .cfi_restore x25
    .cfi_restore x26
    .cfi_restore x27
    .cfi_restore x28
    .cfi_restore x29
    .cfi_restore x30
    mov     x0, x2
    ret
    .cfi_endproc
    .size   plx_switch, . - plx_switch

/* void *plx_switch_prepare(void *top, plx_switch_fn fn) */
    .globl  plx_switch_prepare
    .type   plx_switch_prepare, %function
    .p2align 4
plx_switch_prepare:
    .cfi_startproc
    hint    #34
    /* 16 bytes at the top stay zero, the last frame record. */
    stp     xzr, xzr, [x0, #-16]
    sub     x0, x0, #(FRAME + 16)
    mov     x10, x0
    mov     x11, #(FRAME / 16)
1:  stp     xzr, xzr, [x10], #16
    subs    x11, x11, #1
    b.ne    1b
    str     x1, [x0, #0]                /* x19 */
    adr     x9, plx__switch_entry
    str     x9, [x0, #88]               /* x30 */
    mrs     x9, fpcr
    str     x9, [x0, #160]
    ret
    .cfi_endproc
    .size   plx_switch_prepare, . - plx_switch_prepare

/* Where a prepared stack begins: no caller lies behind it. */
    .globl  plx__switch_entry
    .hidden plx__switch_entry
    .type   plx__switch_entry, %function
    .p2align 4
plx__switch_entry:
    .cfi_startproc
    .cfi_undefined x30
    hint    #34
    blr     x19
    brk     #1
    .cfi_endproc
    .size   plx__switch_entry, . - plx__switch_entry

/* Fit for branch targets (bit 0). */
    .section .note.gnu.property, "a"
    .p2align 3
    .long   4
    .long   16
    .long   5
    .asciz  "GNU"
    .long   0xc0000000
    .long   4
    .long   1
    .long   0

#endif

    .section .note.GNU-stack, "", %progbits
