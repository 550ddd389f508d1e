/* The backend of the benchmarks: as cheap as a correct HTTP/1.1 origin can be.
 *
 *   GET  …/bytes/N   200 with N octets of the pattern
 *   GET  /tagged/N/bytes/L   the same with ten tags, of which g(N / 100) is on a hundred others
 *   GET  /answered   200; X-Answered tells how many requests were answered before it
 *   PUT  or POST     reads and verifies the content; 200 when it is the pattern, 409 when not
 *
 * One thread, listening on every loopback address, so that 127.1.0.1, 127.1.0.2, … are as many
 * backends as a scenario wants. It ends on SIGTERM, or when its parent does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pattern.h"

enum { HEAD_BYTES = 8192, READ_BYTES = 256 << 10, MAX_CONNECTIONS = 65536, SMALL_BODY = 16384 };

enum phase { READING_HEAD, READING_BODY, WRITING };

struct connection {
  enum phase phase;
  int close_after;
  int intact;
  uint32_t head_length;
  uint64_t body_left, body_done;      /* content of the request */
  uint64_t answer_left, answer_done;  /* content of the response */
  char *head;
};

static struct connection connections[MAX_CONNECTIONS];
static char shared_buffer[READ_BYTES];
static int poller;
static uint64_t answered;

static void drop(int fd) {
  free(connections[fd].head);
  memset(&connections[fd], 0, sizeof connections[fd]);
  close(fd);
}

static void watch(int fd, int operation, uint32_t events) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(poller, operation, fd, &event) < 0) perror("epoll_ctl"), exit(1);
}

/* Value of a field whose lower-case name with colon is `name`, or NULL. */
static const char *field(const char *head, const char *name) {
  const char *line = strcasestr(head, name);
  if (line == NULL) return NULL;
  line += strlen(name);
  while (*line == ' ' || *line == '\t') line++;
  return line;
}

static int write_body(int fd) {
  struct connection *c = &connections[fd];
  while (c->answer_left > 0) {
    size_t count = c->answer_left < PATTERN_SLACK ? c->answer_left : PATTERN_SLACK;
    ssize_t sent = send(fd, pattern_at(c->answer_done), count, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN) return -1;
      if (c->phase != WRITING) watch(fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
      c->phase = WRITING;
      return 0;
    }
    c->answer_left -= sent;
    c->answer_done += sent;
  }
  if (c->phase == WRITING) watch(fd, EPOLL_CTL_MOD, EPOLLIN);
  if (c->close_after) return -1;
  c->phase = READING_HEAD;
  c->head_length = 0;
  return 0;
}

/* `more`: field lines. */
static int answer(int fd, int status, uint64_t length, const char *more) {
  struct connection *c = &connections[fd];
  char bytes[512 + SMALL_BODY];
  int head = snprintf(
      bytes, 512,
      "HTTP/1.1 %d %s\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
      "Content-Type: application/octet-stream\r\nContent-Length: %llu\r\n"
      "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nETag: \"0123456789abcdef\"\r\n"
      "Accept-Ranges: bytes\r\n%s%s\r\n",
      status, status == 200 ? "OK" : "Conflict", (unsigned long long)length, more,
      c->close_after ? "Connection: close\r\n" : "");
  size_t body = length <= SMALL_BODY ? length : 0;
  memcpy(bytes + head, pattern_at(0), body);
  /* A fresh answer fits an empty send buffer; if not, the proxy sees a cut connection. */
  if (send(fd, bytes, head + body, MSG_NOSIGNAL) != (ssize_t)(head + body)) return -1;
  c->answer_left = length - body;
  c->answer_done = body;
  return write_body(fd);
}

static int read_body(int fd, const char *bytes, size_t count) {
  struct connection *c = &connections[fd];
  if (count > c->body_left) return -1;
  if (!pattern_matches(bytes, count, c->body_done)) c->intact = 0;
  c->body_done += count;
  c->body_left -= count;
  return c->body_left == 0 ? answer(fd, c->intact ? 200 : 409, 0, "") : 0;
}

/* Ten tags; each but the first is on a hundred of a million, in no order that a memory likes. */
static void write_tags(char *text, size_t room, uint32_t number) {
  int used = snprintf(text, room, "Cache-Tag: g%u", number / 100);
  for (uint32_t i = 1; i < 10; i++)
    used += snprintf(text + used, room - used, ",t%u-%u", i,
                     (number * 2654435761u + i * 40503u) / i % 10000);
  snprintf(text + used, room - used, "\r\n");
}

static int head_complete(int fd, char *end) {
  struct connection *c = &connections[fd];
  size_t head = end - c->head, extra = c->head_length - head;
  end[-1] = 0;
  const char *connection = field(c->head, "\nconnection:");
  c->close_after = connection != NULL && strncasecmp(connection, "close", 5) == 0;
  const char *length = field(c->head, "\ncontent-length:");
  if (length != NULL && strtoull(length, NULL, 10) > 0) {
    c->phase = READING_BODY;
    c->intact = 1;
    c->body_done = 0;
    c->body_left = strtoull(length, NULL, 10);
    return extra > 0 ? read_body(fd, end, extra) : 0;
  }
  if (extra > 0) return -1;
  char *line_end = strchr(c->head, '\r');
  *line_end = 0;
  if (strstr(c->head, " /answered ") != NULL) {
    char count[64];
    snprintf(count, sizeof count, "X-Answered: %llu\r\n", (unsigned long long)answered);
    return answer(fd, 200, 0, count);
  }
  answered++;
  char tags[256] = "";
  const char *number = strstr(c->head, "/tagged/");
  if (number != NULL) write_tags(tags, sizeof tags, (uint32_t)strtoul(number + 8, NULL, 10));
  const char *bytes = strstr(c->head, "/bytes/");
  return answer(fd, 200, bytes != NULL ? strtoull(bytes + 7, NULL, 10) : 0, tags);
}

static int readable(int fd) {
  struct connection *c = &connections[fd];
  for (;;) {
    if (c->phase == READING_BODY) {
      ssize_t count = recv(fd, shared_buffer, READ_BYTES, 0);
      if (count <= 0) return count < 0 && errno == EAGAIN ? 0 : -1;
      if (read_body(fd, shared_buffer, count) < 0) return -1;
      if (count < READ_BYTES) return 0;
      continue;
    }
    if (c->head == NULL && (c->head = malloc(HEAD_BYTES + 1)) == NULL) return -1;
    size_t room = HEAD_BYTES - c->head_length;
    ssize_t count = recv(fd, c->head + c->head_length, room, 0);
    if (count <= 0) return count < 0 && errno == EAGAIN ? 0 : -1;
    c->head_length += count;
    c->head[c->head_length] = 0;
    char *end = memmem(c->head, c->head_length, "\r\n\r\n", 4);
    if (end != NULL && head_complete(fd, end + 4) < 0) return -1;
    if (end == NULL && c->head_length == HEAD_BYTES) return -1;
    if (c->phase != READING_BODY) return 0;
  }
}

static void accept_all(int listener) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (fd >= MAX_CONNECTIONS) {
      close(fd);
      continue;
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    memset(&connections[fd], 0, sizeof connections[fd]);
    watch(fd, EPOLL_CTL_ADD, EPOLLIN);
  }
}

int main(int argc, char **argv) {
  if (argc != 2) return fprintf(stderr, "usage: origin PORT\n"), 2;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGPIPE, SIG_IGN);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  pattern_make();
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
  if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
      listen(listener, 4096) < 0)
    return perror("listen"), 1;
  poller = epoll_create1(EPOLL_CLOEXEC);
  watch(listener, EPOLL_CTL_ADD, EPOLLIN);
  puts("ready");
  fflush(stdout);
  struct epoll_event events[256];
  for (;;) {
    int count = epoll_wait(poller, events, 256, -1);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) {
        accept_all(listener);
      } else if (connections[fd].phase == WRITING) {
        if (events[i].events & (EPOLLERR | EPOLLHUP) || write_body(fd) < 0) drop(fd);
      } else if (readable(fd) < 0) {
        drop(fd);
      }
    }
  }
}
