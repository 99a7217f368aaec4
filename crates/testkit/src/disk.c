// A disk that can be full, loaded before the C library into the process whose disk it is to be (LD_PRELOAD): while the
// file that LONGRUN_TEST_DISK names exists, no file may grow. What is within a file can still be written, as on a
// real disk, whose blocks it has already.
//
// If LONGRUN_TEST_SYNCED names a folder, each file is copied there whenever it is synced: what is in that folder is what is
// left when the power fails and the disk has kept nothing else.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_full(int file, off_t end) {
    int before = errno;
    const char *full = getenv("LONGRUN_TEST_DISK");
    struct stat status;
    int refused = full && access(full, F_OK) == 0 && fstat(file, &status) == 0 && S_ISREG(status.st_mode)
        && end > status.st_size;
    errno = refused ? ENOSPC : before;
    return refused;
}

static off_t after(int file, size_t bytes) {
    int before = errno;
    int flags = fcntl(file, F_GETFL);
    off_t place = lseek(file, 0, flags >= 0 && flags & O_APPEND ? SEEK_END : SEEK_CUR);
    errno = before;
    return place < 0 ? 0 : place + (off_t)bytes;
}

static size_t sum(const struct iovec *parts, int count) {
    size_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += parts[i].iov_len;
    return bytes;
}

#define THE_REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *bytes, size_t count) {
    return is_full(file, after(file, count)) ? -1 : THE_REAL(write)(file, bytes, count);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    return is_full(file, after(file, sum(parts, count))) ? -1 : THE_REAL(writev)(file, parts, count);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t place) {
    return is_full(file, place + (off_t)count) ? -1 : THE_REAL(pwrite)(file, bytes, count, place);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off_t place) {
    return is_full(file, place + (off_t)count) ? -1 : THE_REAL(pwrite64)(file, bytes, count, place);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t place) {
    return is_full(file, place + (off_t)sum(parts, count)) ? -1 : THE_REAL(pwritev)(file, parts, count, place);
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off_t place) {
    return is_full(file, place + (off_t)sum(parts, count)) ? -1 : THE_REAL(pwritev64)(file, parts, count, place);
}

// These answer the number of the error, and do not set it.
int posix_fallocate(int file, off_t place, off_t bytes) {
    return is_full(file, place + bytes) ? ENOSPC : THE_REAL(posix_fallocate)(file, place, bytes);
}

int posix_fallocate64(int file, off_t place, off_t bytes) {
    return is_full(file, place + bytes) ? ENOSPC : THE_REAL(posix_fallocate64)(file, place, bytes);
}

// It reads from the file as it is open: if it were opened again and closed, the process would lose its locks on it.
static int copied(int file, int error) {
    const char *folder = getenv("LONGRUN_TEST_SYNCED");
    struct stat status;
    char link[PATH_MAX], path[PATH_MAX], copy[PATH_MAX];
    if (error || !folder || fstat(file, &status) || !S_ISREG(status.st_mode)) return error;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) abort();
    path[length] = '\0';
    if (snprintf(copy, sizeof copy, "%s%s", folder, strrchr(path, '/')) >= (int)sizeof copy) abort();
    int to = open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    off_t place = 0;
    while (place < status.st_size)
        if (sendfile(to, file, &place, status.st_size - place) <= 0) abort();
    close(to);
    return 0;
}

int fsync(int file) { return copied(file, THE_REAL(fsync)(file)); }

int fdatasync(int file) { return copied(file, THE_REAL(fdatasync)(file)); }
