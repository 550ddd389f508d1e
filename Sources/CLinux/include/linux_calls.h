/* Linux system calls and constants that Swift's Glibc overlay does not import.

   _GNU_SOURCE must not be defined here: it changes declarations of the toolchain's own Glibc
   module. What needs it is declared by hand, as the C library exports it. */
#ifndef WEIR_LINUX_CALLS_H
#define WEIR_LINUX_CALLS_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

extern long syscall(long number, ...);
extern int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
extern int pipe2(int descriptors[2], int flags);
extern ssize_t splice(int in, off_t *in_offset, int out, off_t *out_offset, size_t length,
                      unsigned int flags);

#define WEIR_F_SETPIPE_SZ 1031
#define WEIR_F_GETPIPE_SZ 1032
#define WEIR_SPLICE_F_MOVE 1u
#define WEIR_SPLICE_F_NONBLOCK 2u
#define WEIR_SPLICE_F_MORE 4u
#define WEIR_EPOLLIN 0x001u
#define WEIR_EPOLLOUT 0x004u
#define WEIR_EPOLLERR 0x008u
#define WEIR_EPOLLHUP 0x010u
#define WEIR_EPOLLRDHUP 0x2000u
#define WEIR_EPOLLEXCLUSIVE (1u << 28)
#define WEIR_EPOLLET (1u << 31)

/* errno is read here, before any Swift runtime code can run and change it. */
static inline int weir_errno(void) { return errno; }

/* recv, send and epoll_wait without the cancellation bookkeeping that the C library does around
   them in a process with threads: no thread of ours is ever cancelled, and it costs a fifth of the
   call. */
static inline ssize_t weir_call(long number, int fd, const void *bytes, size_t length,
                                long fourth) {
#if defined(__x86_64__)
    register long r10 __asm__("r10") = fourth;
    register long r8 __asm__("r8") = 0;
    register long r9 __asm__("r9") = 0;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"((long)fd), "S"(bytes), "d"(length), "r"(r10), "r"(r8),
                       "r"(r9)
                     : "rcx", "r11", "memory");
    if (result >= 0) return result;
    errno = (int)-result;
    return -1;
#else
    return syscall(number, fd, bytes, length, fourth, NULL, 0);
#endif
}

static inline ssize_t weir_recv(int fd, void *buffer, size_t length) {
    return weir_call(SYS_recvfrom, fd, buffer, length, 0);
}

static inline ssize_t weir_send(int fd, const void *bytes, size_t length) {
    return weir_call(SYS_sendto, fd, bytes, length, MSG_NOSIGNAL);
}

static inline int weir_epoll_wait(int fd, struct epoll_event *events, int count, int timeout_ms) {
#if defined(__x86_64__)
    return (int)weir_call(SYS_epoll_wait, fd, events, (size_t)count, timeout_ms);
#else
    return epoll_wait(fd, events, count, timeout_ms);
#endif
}

static inline int weir_fcntl(int fd, int command, int argument) {
    return fcntl(fd, command, argument);
}

/* A nonblocking signalfd for the set, and the next signal's number from it (0: none). */
int weir_signalfd(const void *set);
int weir_signalfd_read(int fd);

/* One message on a unix socket with descriptors beside it; `to` may be NULL where the socket is
   connected. -1 and errno on failure. */
#define WEIR_DESCRIPTORS_PER_MESSAGE 128
ssize_t weir_send_descriptors(int fd, const void *bytes, size_t length, const int *descriptors,
                              size_t count, const struct sockaddr_un *to, socklen_t to_length);
/* The same, received; close-on-exec. In: `*count` is the room; out: how many came. */
ssize_t weir_receive_descriptors(int fd, void *bytes, size_t length, int *descriptors,
                                 size_t *count);

/* Starts a program with no signal blocked and `inherited` as its descriptor `at`. Returns its
   process id, or a negative errno. */
int weir_spawn(const char *path, char *const arguments[], char *const environment[], int inherited,
               int at);

/* Names the calling thread, at most 15 bytes, for `top -H` and core dumps. */
int weir_name_thread(const char *name);

/* The calling thread does little, and soon: it asks for the shortest of slices, so that once it
   has something to do it need not wait until one that is busy has used up its own (EEVDF, Linux
   6.12; older kernels, and those who forbid it, leave everything as it was). Threads that it starts
   are as any other. */
void weir_prompt_thread(void);
/* The slice of a thread of this or another process, in nanoseconds; 0: the kernel does not say. */
uint64_t weir_thread_slice(int thread);

#endif
