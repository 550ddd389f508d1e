#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/* sched_setattr(2) as the kernel's first version of it has it. The C library of Debian 12 does not
   declare it. */
struct scheduling {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime;
    uint64_t deadline;
    uint64_t period;
};
static const uint64_t reset_on_fork = 1;
/* The shortest one that Linux gives, in nanoseconds. */
static const uint64_t short_slice = 100000;

int weir_name_thread(const char *name) { return pthread_setname_np(pthread_self(), name); }

int weir_signalfd(const void *set) {
    return signalfd(-1, (const sigset_t *)set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int weir_signalfd_read(int fd) {
    struct signalfd_siginfo info;
    return read(fd, &info, sizeof info) == sizeof info ? (int)info.ssi_signo : 0;
}

void weir_prompt_thread(void) {
    struct scheduling now = {.size = sizeof now};
    if (syscall(SYS_sched_getattr, 0, &now, sizeof now, 0) != 0) return;
    now.flags |= reset_on_fork;
    now.runtime = short_slice;
    (void)syscall(SYS_sched_setattr, 0, &now, 0);
}

uint64_t weir_thread_slice(int thread) {
    struct scheduling now = {.size = sizeof now};
    return syscall(SYS_sched_getattr, thread, &now, sizeof now, 0) == 0 ? now.runtime : 0;
}
