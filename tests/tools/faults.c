/*
 * Runs a program and makes its file system fail, by seccomp's user notifications (seccomp_unotify(2)): the kernel asks
 * this process about each system call that touches a file, whichever thread or library made it, before it happens.
 * Nothing of the program can get around it, as it could around a library that is preloaded, and no right is needed.
 *
 *   faults RESULT KIND FIRST COUNT DIRECTORY... -- PROGRAM ARGUMENT...
 *
 * Of the calls that touch something below one of the DIRECTORies (absolute, without symbolic links) and that KIND is
 * about, number FIRST (from 1) and those after it fail, COUNT in all (0: each from there on).
 *   full    calls that need room; with ENOSPC
 *   broken  every call that reads or writes; with EIO
 *   kill    calls that change something: the program gets SIGKILL, and the call doesn't happen
 *   none    nothing fails
 * RESULT then says how many calls of each kind there were, and what failed first:
 *   full 120
 *   broken 640
 *   kill 131
 *   failed rename /tmp/x/cache/tmp/new-1
 *
 * The exit code is the program's, or 128 and the number of the signal that ended it; 125 if this can't be done here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv)
#define ARCH AUDIT_ARCH_RISCV64
#else
#error "no such architecture"
#endif

enum kind { FULL, BROKEN, KILL, KINDS };
static const char *const kind_names[KINDS] = {"full", "broken", "kill"};
#define R (1 << BROKEN)
#define C (1 << KILL)
#define N (1 << FULL)

/* How an argument names a file. */
enum shape {
    FD,        /* `at` is a descriptor */
    PATH,      /* `at` is a path */
    AT,        /* `at` is a directory's descriptor, and the path follows it */
    OPEN,      /* as PATH, and then flags */
    OPENAT,    /* as AT, and then flags */
};

struct call {
    int number;
    const char *name;
    enum shape shape;
    int at;    /* which argument */
    int other; /* which other one, in the same shape; -1 for none */
    int kinds;
};

#define CALL(name, shape, at, other, kinds) {SYS_##name, #name, shape, at, other, kinds}
static const struct call calls[] = {
    CALL(openat, OPENAT, 0, -1, R),
    CALL(mkdirat, AT, 0, -1, R | C | N),
    CALL(renameat2, AT, 0, 2, R | C | N),
    CALL(linkat, AT, 0, 2, R | C | N),
    CALL(symlinkat, AT, 1, -1, R | C | N),
    CALL(mknodat, AT, 0, -1, R | C | N),
    CALL(unlinkat, AT, 0, -1, R | C),
    CALL(fchmodat, AT, 0, -1, R | C),
    CALL(utimensat, AT, 0, -1, R | C),
    CALL(newfstatat, AT, 0, -1, R),
    CALL(statx, AT, 0, -1, R),
    CALL(readlinkat, AT, 0, -1, R),
    CALL(faccessat, AT, 0, -1, R),
    CALL(truncate, PATH, 0, -1, R | C | N),
    CALL(ftruncate, FD, 0, -1, R | C | N),
    CALL(fallocate, FD, 0, -1, R | C | N),
    CALL(write, FD, 0, -1, R | C | N),
    CALL(pwrite64, FD, 0, -1, R | C | N),
    CALL(writev, FD, 0, -1, R | C | N),
    CALL(pwritev, FD, 0, -1, R | C | N),
    CALL(pwritev2, FD, 0, -1, R | C | N),
    CALL(copy_file_range, FD, 2, 0, R | C | N),
    CALL(sendfile, FD, 0, 1, R | C | N),
    CALL(splice, FD, 2, 0, R | C | N),
    CALL(fsync, FD, 0, -1, R | C | N),
    CALL(fdatasync, FD, 0, -1, R | C | N),
    CALL(fchmod, FD, 0, -1, R | C),
    CALL(flock, FD, 0, -1, R),
    CALL(read, FD, 0, -1, R),
    CALL(pread64, FD, 0, -1, R),
    CALL(readv, FD, 0, -1, R),
    CALL(preadv, FD, 0, -1, R),
    CALL(preadv2, FD, 0, -1, R),
    CALL(getdents64, FD, 0, -1, R),
#ifdef SYS_open /* those that newer architectures don't have */
    CALL(open, OPEN, 0, -1, R),
    CALL(creat, PATH, 0, -1, R | C | N),
    CALL(mkdir, PATH, 0, -1, R | C | N),
    CALL(rename, PATH, 0, 1, R | C | N),
    CALL(link, PATH, 0, 1, R | C | N),
    CALL(symlink, PATH, 1, -1, R | C | N),
    CALL(unlink, PATH, 0, -1, R | C),
    CALL(rmdir, PATH, 0, -1, R | C),
    CALL(chmod, PATH, 0, -1, R | C),
    CALL(stat, PATH, 0, -1, R),
    CALL(lstat, PATH, 0, -1, R),
    CALL(readlink, PATH, 0, -1, R),
    CALL(access, PATH, 0, -1, R),
#endif
#ifdef SYS_renameat
    CALL(renameat, AT, 0, 2, R | C | N),
#endif
};
#define CALLS (sizeof calls / sizeof *calls)

static void fail(const char *what) {
    fprintf(stderr, "faults: %s: %s\n", what, strerror(errno));
    exit(125);
}

static char **directories;
static int directory_count;

static int is_below(const char *path) {
    for (int i = 0; i < directory_count; i++) {
        size_t length = strlen(directories[i]);
        if (!strncmp(path, directories[i], length) && (path[length] == '/' || path[length] == 0))
            return 1;
    }
    return 0;
}

static int link_of(pid_t pid, const char *name, long number, char *path) {
    char place[64];
    snprintf(place, sizeof place, name, (int)pid, number);
    ssize_t length = readlink(place, path, PATH_MAX - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return 1;
}

static int text_of(pid_t pid, unsigned long long address, char *text) {
    char place[64];
    snprintf(place, sizeof place, "/proc/%d/mem", (int)pid);
    int memory = open(place, O_RDONLY | O_CLOEXEC);
    if (memory < 0)
        return 0;
    /* A string at the end of a page may be followed by nothing that can be read. */
    size_t length = 0;
    int whole = 0;
    while (length < PATH_MAX - 1 && !whole) {
        size_t most = 256 - (address + length) % 256;
        if (most > PATH_MAX - 1 - length)
            most = PATH_MAX - 1 - length;
        ssize_t count = pread(memory, text + length, most, (off_t)(address + length));
        if (count <= 0)
            break;
        whole = memchr(text + length, 0, (size_t)count) != NULL;
        length += (size_t)count;
    }
    close(memory);
    return whole;
}

/* The path that an argument stands for; 0 for none. */
static int path_of(pid_t pid, enum shape shape, int at, const __u64 *args, char *path) {
    char text[PATH_MAX];
    long directory = AT_FDCWD;
    switch (shape) {
    case FD:
        return link_of(pid, "/proc/%d/fd/%ld", (int)args[at], path);
    case AT:
    case OPENAT:
        directory = (int)args[at];
        at++;
        /* fallthrough */
    default:
        if (!args[at] || !text_of(pid, args[at], text))
            return 0;
    }
    if (text[0] == '/') {
        strcpy(path, text);
        return 1;
    }
    if (directory == AT_FDCWD ? !link_of(pid, "/proc/%d/cwd", 0, path)
                              : !link_of(pid, "/proc/%d/fd/%ld", directory, path))
        return 0;
    /* With AT_EMPTY_PATH it is the descriptor itself. */
    size_t length = strlen(path);
    if (text[0] && length + 1 + strlen(text) < PATH_MAX)
        sprintf(path + length, "/%s", text);
    return 1;
}

static int kinds_of(const struct call *call, const __u64 *args) {
    if (call->shape != OPEN && call->shape != OPENAT)
        return call->kinds;
    unsigned long flags = args[call->at + (call->shape == OPENAT ? 2 : 1)];
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE)
        return R | C | N;
    return flags & O_TRUNC ? R | C : R;
}

static int install(void) {
    static struct sock_filter filter[4 + 2 * CALLS + 1];
    size_t length = 0;
#define STEP(...) filter[length++] = (struct sock_filter)__VA_ARGS__
    STEP(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)));
    STEP(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0));
    STEP(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    STEP(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
    for (size_t i = 0; i < CALLS; i++) {
        STEP(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i].number, 0, 1));
        STEP(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
    }
    STEP(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    struct sock_fprog program = {(unsigned short)length, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        fail("prctl");
    int listener =
        (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (listener < 0)
        fail("seccomp");
    return listener;
}

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static void send_descriptor(int socket, int descriptor) {
    char byte = 0;
    struct iovec data = {&byte, 1};
    union control control;
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control.bytes};
    control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &descriptor, sizeof descriptor);
    if (sendmsg(socket, &message, 0) != 1)
        fail("sendmsg");
}

static int receive_descriptor(int socket) {
    char byte;
    struct iovec data = {&byte, 1};
    union control control;
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control.bytes};
    int descriptor;
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1 || message.msg_controllen < sizeof(struct cmsghdr))
        fail("recvmsg");
    memcpy(&descriptor, CMSG_DATA(&control.header), sizeof descriptor);
    return descriptor;
}

int main(int argc, char **argv) {
    if (argc < 7) {
        fputs("faults RESULT KIND FIRST COUNT DIRECTORY... -- PROGRAM ARGUMENT...\n", stderr);
        return 125;
    }
    const char *result = argv[1];
    int chosen = KINDS;
    for (int kind = 0; kind < KINDS; kind++)
        if (!strcmp(argv[2], kind_names[kind]))
            chosen = kind;
    long first = atol(argv[3]), count = atol(argv[4]);
    directories = argv + 5;
    while (directories[directory_count] && strcmp(directories[directory_count], "--"))
        directory_count++;
    char **program = directories + directory_count + 1;
    if (!directories[directory_count] || !*program)
        return 125;

    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets))
        fail("socketpair");
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (!child) {
        int listener = install();
        send_descriptor(sockets[1], listener);
        /* From here on the other process answers. */
        close(listener);
        execv(program[0], program);
        fail(program[0]);
    }
    close(sockets[1]);
    int listener = receive_descriptor(sockets[0]);

    long seen[KINDS] = {0};
    char failed[PATH_MAX + 64] = "";
    for (;;) {
        struct pollfd poller = {listener, POLLIN, 0};
        if (poll(&poller, 1, -1) < 0 && errno == EINTR)
            continue;
        if (poller.revents & POLLHUP && !(poller.revents & POLLIN))
            break;
        struct seccomp_notif request;
        memset(&request, 0, sizeof request);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request))
            continue;
        struct seccomp_notif_resp response = {.id = request.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        const struct call *call = calls;
        while (call < calls + CALLS - 1 && call->number != request.data.nr)
            call++;
        char path[PATH_MAX], other[PATH_MAX];
        pid_t pid = (pid_t)request.pid;
        int here = path_of(pid, call->shape, call->at, request.data.args, path) && is_below(path);
        if (!here && call->other >= 0)
            here = path_of(pid, call->shape, call->other, request.data.args, other) && is_below(other) &&
                   strcpy(path, other) != NULL;
        if (here && !ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &request.id)) {
            int kinds = kinds_of(call, request.data.args);
            for (int kind = 0; kind < KINDS; kind++)
                seen[kind] += kinds >> kind & 1;
            if (chosen < KINDS && kinds >> chosen & 1 && seen[chosen] >= first &&
                (!count || seen[chosen] < first + count)) {
                if (!*failed)
                    snprintf(failed, sizeof failed, "failed %s %s\n", call->name, path);
                if (chosen == KILL) {
                    kill(child, SIGKILL);
                    continue;
                }
                response.flags = 0;
                response.error = chosen == FULL ? -ENOSPC : -EIO;
            }
        }
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
    }

    int status;
    if (waitpid(child, &status, 0) != child)
        fail("waitpid");
    FILE *file = fopen(result, "w");
    if (!file)
        fail(result);
    for (int kind = 0; kind < KINDS; kind++)
        fprintf(file, "%s %ld\n", kind_names[kind], seen[kind]);
    fputs(failed, file);
    if (fclose(file))
        fail(result);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
