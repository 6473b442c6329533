/* SPDX-License-Identifier: MIT */
/*
 * Plain calls on descriptors, of the kernel or of the simulated world, so that the suite of all
 * backends is written once. Include it last: it gives the calls' names to functions of its own.
 *
 * In the simulated world a call that would wait moves the clock; it fails where nothing comes.
 */
#ifndef POLLUX_TEST_CALLS_H
#define POLLUX_TEST_CALLS_H

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

struct plx__sim_world;

/* From here on new descriptors are of this world; NULL: of the kernel. */
void calls_use(struct plx__sim_world *world);

int calls_close(int fd);
ssize_t calls_read(int fd, void *buf, size_t len);
ssize_t calls_write(int fd, const void *data, size_t len);
ssize_t calls_recv(int fd, void *buf, size_t len, int flags);
ssize_t calls_send(int fd, const void *data, size_t len, int flags);
int calls_socket(int domain, int type, int protocol);
int calls_socketpair(int domain, int type, int protocol, int pair[2]);
int calls_pipe2(int ends[2], int flags);
int calls_bind(int fd, const struct sockaddr *addr, socklen_t bytes);
int calls_listen(int fd, int backlog);
int calls_accept4(int fd, struct sockaddr *addr, socklen_t *bytes, int flags);
int calls_connect(int fd, const struct sockaddr *addr, socklen_t bytes);
int calls_getsockname(int fd, struct sockaddr *addr, socklen_t *bytes);
int calls_setsockopt(int fd, int level, int name, const void *value, socklen_t bytes);
int calls_shutdown(int fd, int how);
/* In the simulated world any descriptor will do. */
int calls_dup(int fd);
/* With an argument, an int, where the command takes one. */
int calls_fcntl(int fd, int command, ...);
int calls_memfd_create(const char *name, unsigned flags);
off_t calls_lseek(int fd, off_t offset, int whence);
int calls_open(const char *path, int flags, ...);
/* One descriptor, for reading. */
int calls_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int calls_mkostemp(char *path, int flags);
char *calls_mkdtemp(char *path);
int calls_unlink(const char *path);
int calls_unlinkat(int dir, const char *path, int flags);
int calls_rmdir(const char *path);
ssize_t calls_pwrite(int fd, const void *data, size_t len, off_t offset);
bool calls_is_open(int fd);

#ifndef POLLUX_TEST_CALLS_PLAIN
#define close        calls_close
#define read         calls_read
#define write        calls_write
#define recv         calls_recv
#define send         calls_send
#define socket       calls_socket
#define socketpair   calls_socketpair
#define pipe2        calls_pipe2
#define bind         calls_bind
#define listen       calls_listen
#define accept4      calls_accept4
#define connect      calls_connect
#define getsockname  calls_getsockname
#define setsockopt   calls_setsockopt
#define shutdown     calls_shutdown
#define dup          calls_dup
#define lseek        calls_lseek
#define fcntl        calls_fcntl
#define open         calls_open
#define poll         calls_poll
#define mkostemp     calls_mkostemp
#define mkdtemp      calls_mkdtemp
#define unlink       calls_unlink
#define unlinkat     calls_unlinkat
#define rmdir        calls_rmdir
#define pwrite       calls_pwrite
#define memfd_create calls_memfd_create
#endif

#endif
