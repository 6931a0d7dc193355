/* A slow disk for any server: every write to a regular file and every sync takes SLOW_DISK_US microseconds longer.
 * Preloaded (LD_PRELOAD); sockets and pipes are left alone. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static void pause_for_disk(void) {
    const char *text = getenv("SLOW_DISK_US");
    long us = text ? atol(text) : 0;
    struct timespec length = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&length, NULL);
}

static int is_file(int fd) {
    struct stat status;
    return syscall(SYS_fstat, fd, &status) == 0 && S_ISREG(status.st_mode);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (is_file(fd)) pause_for_disk();
    return syscall(SYS_write, fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (is_file(fd)) pause_for_disk();
    return syscall(SYS_writev, fd, parts, count);
}

int fsync(int fd) {
    pause_for_disk();
    return syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    pause_for_disk();
    return syscall(SYS_fdatasync, fd);
}
