#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

int weir_name_thread(const char *name) { return pthread_setname_np(pthread_self(), name); }

int weir_signalfd(const void *set) {
    return signalfd(-1, (const sigset_t *)set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int weir_signalfd_read(int fd) {
    struct signalfd_siginfo info;
    return read(fd, &info, sizeof info) == sizeof info ? (int)info.ssi_signo : 0;
}
