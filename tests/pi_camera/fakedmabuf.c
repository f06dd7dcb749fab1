/* Stands in for /dev/udmabuf and /dev/dma_heap on a kernel without them: a memfd, since all here only mmaps.

   Loaded with LD_PRELOAD into the tests of the Pi camera's adapter, nowhere else. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FDS = 4096 };
static unsigned char ours[FDS];

struct udmabuf { uint32_t memfd, flags; uint64_t offset, size; };
struct heap { uint64_t length; uint32_t fd, fd_flags; uint64_t heap_flags; };

static int is_stand_in(const char *path) {
    return path && (!strcmp(path, "/dev/udmabuf") || !strncmp(path, "/dev/dma_heap/", 14));
}

static int stand_in(void) {
    int fd = memfd_create("dma-stand-in", MFD_CLOEXEC);
    if (fd >= 0 && fd < FDS) ours[fd] = 1;
    return fd;
}

#define OPENER(name) \
    int name(const char *path, int flags, ...) { \
        static int (*real)(const char *, int, ...); \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        return is_stand_in(path) ? stand_in() : real(path, flags, mode); \
    }
OPENER(open)
OPENER(open64)

int openat(int folder, const char *path, int flags, ...) {
    static int (*real)(int, const char *, int, ...);
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
    if (!real) real = dlsym(RTLD_NEXT, "openat");
    return is_stand_in(path) ? stand_in() : real(folder, path, flags, mode);
}

int close(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "close");
    if (fd >= 0 && fd < FDS) ours[fd] = 0;
    return real(fd);
}

int ioctl(int fd, unsigned long request, ...) {
    static int (*real)(int, unsigned long, ...);
    va_list rest; va_start(rest, request); void *argument = va_arg(rest, void *); va_end(rest);
    if (!real) real = dlsym(RTLD_NEXT, "ioctl");
    uint32_t number = (uint32_t)request; /* Python passes them sign-extended */
    if (fd >= 0 && fd < FDS && ours[fd]) {
        if (number == 0x40187542u) { /* UDMABUF_CREATE */
            struct udmabuf *wish = argument;
            return fcntl((int)wish->memfd, F_DUPFD_CLOEXEC, 0);
        }
        if (number == 0xc0184800u) { /* DMA_HEAP_IOCTL_ALLOC */
            struct heap *wish = argument;
            int made = memfd_create("dma-heap-stand-in", MFD_CLOEXEC);
            if (made < 0 || ftruncate(made, (off_t)wish->length)) return -1;
            wish->fd = (uint32_t)made;
            return 0;
        }
    }
    int answer = real(fd, request, argument);
    if (answer < 0 && errno == ENOTTY && ((number >> 8) & 0xff) == 'b' && (number & 0xff) <= 1) return 0;
    return answer;
}
