/* An ALSA device that behaves as a sound card's bare hardware does: it takes the rates and channels that it has, and
 * nothing else, belongs to one program at a time, has a clock of its own, and can be pulled out.
 *
 *     pcm_type.card { lib "/path/to/card.so" }
 *     pcm.usb { type card  rates "44100 48000"  channels 2  ppm 200  folder "/path/to/folder" }
 *
 * Playback is appended to FOLDER/played.raw, capture comes from FOLDER/heard.raw, from its beginning, then silence:
 * 16-bit interleaved samples. While FOLDER/unplugged exists the card is gone. Each direction has a lock of its own,
 * FOLDER/0.lock and FOLDER/1.lock. The declarations are those of ALSA's <alsa/pcm_ioplug.h> and <alsa/conf.h>, so that
 * a compiler is all that it takes.
 *
 *     cc -shared -fPIC -o card.so card.c -l:libasound.so.2
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

typedef struct ioplug ioplug;
typedef struct { void *addr; unsigned int first, step; } area; /* bits */

typedef struct {
    int (*start)(ioplug *);
    int (*stop)(ioplug *);
    long (*pointer)(ioplug *);
    long (*transfer)(ioplug *, const area *, unsigned long offset, unsigned long size);
    int (*close)(ioplug *);
    int (*hw_params)(ioplug *, void *);
    int (*hw_free)(ioplug *);
    int (*sw_params)(ioplug *, void *);
    int (*prepare)(ioplug *);
    int (*drain)(ioplug *);
    int (*pause)(ioplug *, int);
    int (*resume)(ioplug *);
    int (*poll_descriptors_count)(ioplug *);
    int (*poll_descriptors)(ioplug *, struct pollfd *, unsigned int);
    int (*poll_revents)(ioplug *, struct pollfd *, unsigned int, unsigned short *);
    void (*dump)(ioplug *, void *);
    int (*delay)(ioplug *, long *);
    void *(*query_chmaps)(ioplug *);
    void *(*get_chmap)(ioplug *);
    int (*set_chmap)(ioplug *, const void *);
} callbacks;

struct ioplug {
    unsigned int version;
    const char *name;
    unsigned int flags;
    int poll_fd;
    unsigned int poll_events, mmap_rw;
    const callbacks *callback;
    void *private_data, *pcm;
    int stream, state;
    volatile unsigned long appl_ptr, hw_ptr;
    int nonblock, access, format;
    unsigned int channels, rate;
    unsigned long period_size, buffer_size;
};

enum { VERSION = 1 << 16 | 2, MONOTONIC = 2, BOUNDARY_WA = 4, PLAYBACK = 0 };
enum { ACCESS, FORMAT, CHANNELS, RATE, PERIOD_BYTES, BUFFER_BYTES, PERIODS };
enum { RW_INTERLEAVED = 3, S16_LE = 2, RUNNING = 3, DISCONNECTED = 8 };

int snd_pcm_ioplug_create(ioplug *, const char *, int stream, int mode);
int snd_pcm_ioplug_delete(ioplug *);
int snd_pcm_ioplug_set_param_minmax(ioplug *, int type, unsigned int, unsigned int);
int snd_pcm_ioplug_set_param_list(ioplug *, int type, unsigned int, const unsigned int *);
int snd_pcm_ioplug_set_state(ioplug *, int state);
int snd_config_search(void *config, const char *key, void **found);
int snd_config_get_string(const void *, const char **);
int snd_config_get_integer(const void *, long *);

typedef struct {
    ioplug io;
    int lock, data;
    double ppm;
    char unplugged[400];
    struct timespec began;
} card;

static int gone(card *self) {
    if (access(self->unplugged, F_OK) != 0) return 0;
    snd_pcm_ioplug_set_state(&self->io, DISCONNECTED);
    return 1;
}

/* frames since the start, by the card's clock */
static unsigned long position(card *self) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double seconds = now.tv_sec - self->began.tv_sec + 1e-9 * (now.tv_nsec - self->began.tv_nsec);
    return seconds * self->io.rate * (1 + 1e-6 * self->ppm);
}

/* frames that the program can transfer at a position; more than the buffer holds after an overrun or underrun */
static long available(ioplug *io, unsigned long at) {
    return io->stream == PLAYBACK ? (long)(at + io->buffer_size - io->appl_ptr) : (long)(at - io->appl_ptr);
}

static int card_start(ioplug *io) {
    card *self = io->private_data;
    if (gone(self)) return -ENODEV;
    clock_gettime(CLOCK_MONOTONIC, &self->began);
    return 0;
}

static int card_stop(ioplug *io) {
    struct itimerspec never = {{0, 0}, {0, 0}};
    timerfd_settime(io->poll_fd, 0, &never, NULL);
    return 0;
}

static long card_pointer(ioplug *io) {
    card *self = io->private_data;
    if (gone(self)) return -ENODEV;
    if (io->state != RUNNING) return 0;
    unsigned long at = position(self);
    return available(io, at) > (long)io->buffer_size ? -EPIPE : (long)at;
}

static long card_transfer(ioplug *io, const area *areas, unsigned long offset, unsigned long size) {
    card *self = io->private_data;
    if (gone(self)) return -ENODEV;
    char *samples = (char *)areas->addr + (areas->first + areas->step * offset) / 8;
    size_t bytes = size * io->channels * 2;
    if (io->stream == PLAYBACK) return write(self->data, samples, bytes) < 0 ? -errno : (long)size;
    ssize_t heard = read(self->data, samples, bytes);
    if (heard < 0) heard = 0;
    memset(samples + heard, 0, bytes - heard);
    return size;
}

static int card_close(ioplug *io) {
    card *self = io->private_data;
    close(io->poll_fd);
    close(self->data);
    close(self->lock);
    free(self);
    return 0;
}

/* The timer runs before the start, too: a program polls until it may fill the buffer. */
static int card_prepare(ioplug *io) {
    if (gone(io->private_data)) return -ENODEV;
    long quarter = 1e9 * io->period_size / io->rate / 4;
    struct itimerspec often = {{0, quarter}, {0, quarter}};
    return timerfd_settime(io->poll_fd, 0, &often, NULL) < 0 ? -errno : 0;
}

static int card_poll_revents(ioplug *io, struct pollfd *fds, unsigned int count, unsigned short *revents) {
    card *self = io->private_data;
    uint64_t ticks;
    *revents = 0;
    if (gone(self)) {
        *revents = POLLERR | POLLHUP;
        return -ENODEV;
    }
    if (count && fds[0].revents & POLLIN && read(io->poll_fd, &ticks, sizeof ticks) < 0 && errno != EAGAIN)
        return -errno;
    if (available(io, io->state == RUNNING ? position(self) : 0) >= (long)io->period_size)
        *revents = io->stream == PLAYBACK ? POLLOUT : POLLIN;
    return 0;
}

static const callbacks CALLBACKS = {
    .start = card_start, .stop = card_stop, .pointer = card_pointer, .transfer = card_transfer, .close = card_close,
    .prepare = card_prepare, .poll_revents = card_poll_revents,
};

static const char *text(void *config, const char *key) {
    void *node;
    const char *value = NULL;
    return snd_config_search(config, key, &node) < 0 || snd_config_get_string(node, &value) < 0 ? NULL : value;
}

static long number(void *config, const char *key, long otherwise) {
    void *node;
    long value;
    return snd_config_search(config, key, &node) < 0 || snd_config_get_integer(node, &value) < 0 ? otherwise : value;
}

const char __snd_pcm_card_open_dlsym_pcm_001 = 0;

int _snd_pcm_card_open(void **pcm, const char *name, void *root, void *config, int stream, int mode) {
    const char *rates = text(config, "rates"), *folder = text(config, "folder");
    unsigned int list[16], count = 0, channels = number(config, "channels", 2);
    char path[400];
    int error;
    (void)root;
    if (!rates || !folder) return -EINVAL;
    for (char *end; count < 16 && (list[count] = strtoul(rates, &end, 10)); rates = end) count++;

    card *self = calloc(1, sizeof *self);
    if (!self) return -ENOMEM;
    self->ppm = number(config, "ppm", 0);
    snprintf(self->unplugged, sizeof self->unplugged, "%s/unplugged", folder);
    snprintf(path, sizeof path, "%s/%d.lock", folder, stream);
    self->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    snprintf(path, sizeof path, "%s/%s.raw", folder, stream == PLAYBACK ? "played" : "heard");
    self->data = open(path, (stream == PLAYBACK ? O_WRONLY | O_APPEND : O_RDONLY) | O_CREAT | O_CLOEXEC, 0600);
    self->io = (ioplug){.version = VERSION, .name = "a card", .flags = MONOTONIC | BOUNDARY_WA,
        .poll_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), .poll_events = POLLIN,
        .callback = &CALLBACKS, .private_data = self};
    if (access(self->unplugged, F_OK) == 0) error = -ENODEV;
    else if (flock(self->lock, LOCK_EX | LOCK_NB) < 0) error = -EBUSY;
    else error = snd_pcm_ioplug_create(&self->io, name, stream, mode);
    if (error < 0) {
        card_close(&self->io);
        return error;
    }
    unsigned int accesses[] = {RW_INTERLEAVED}, formats[] = {S16_LE};
    if ((error = snd_pcm_ioplug_set_param_list(&self->io, ACCESS, 1, accesses)) < 0 ||
        (error = snd_pcm_ioplug_set_param_list(&self->io, FORMAT, 1, formats)) < 0 ||
        (error = snd_pcm_ioplug_set_param_minmax(&self->io, CHANNELS, channels, channels)) < 0 ||
        (error = snd_pcm_ioplug_set_param_list(&self->io, RATE, count, list)) < 0 ||
        (error = snd_pcm_ioplug_set_param_minmax(&self->io, PERIOD_BYTES, 256, 1 << 16)) < 0 ||
        (error = snd_pcm_ioplug_set_param_minmax(&self->io, BUFFER_BYTES, 512, 1 << 19)) < 0) {
        snd_pcm_ioplug_delete(&self->io);
        return error;
    }
    *pcm = self->io.pcm;
    return 0;
}
