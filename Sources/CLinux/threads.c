#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>

int weir_name_thread(const char *name) { return pthread_setname_np(pthread_self(), name); }

int weir_pin_thread(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    return sched_setaffinity(0, sizeof set, &set);
}
