/* The client of the benchmarks: a closed loop of connections that compares every octet it gets.
 *
 *   load --port P --target TEMPLATE --length N [--variants K] [--connections C]
 *        [--requests N | --seconds S] [--put BYTES] [--new-connections] [--hold] [--tls]
 *        [--anonymous] [--draw uniform|zipf] [--rate R]
 *
 * `%u` in the template becomes 0 … K-1 in turn, or by `--draw` at random, the same in every run:
 * all alike, or number n in proportion to n^-0.9. `--put` uploads the pattern and expects an empty
 * 200. `--hold` makes one request on each connection, 64 at a time, prints the result, and keeps
 * all of them open until standard input ends. `--tls` speaks TLS 1.3 with one cipher suite, the
 * same for all peers, verifies nothing and resumes nothing: each connection costs the proxy a whole
 * handshake. One line of JSON tells the outcome; anything but a
 * complete, intact 200 is an error, and any error ends the run with exit code 1.
 *
 * `--rate` keeps to so many requests a second on all connections together, as far as the peer does:
 * a connection whose answer is late asks again at once, until it has caught up.
 *
 * `--anonymous` leaves out the cookie and the reload's `Cache-Control: max-age=0`: with either of
 * them, some caches ask the backend.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "pattern.h"

enum { REQUEST_BYTES = 512, READ_BYTES = 512 << 10, MAX_CONNECTIONS = 65536, BUCKETS = 64 * 16 };

struct request {
  int length;
  char bytes[REQUEST_BYTES];
};

struct connection {
  int used, in_body, closing;
  const struct request *request;
  int head_sent;
  uint64_t put_sent, body_got, started_ns, due_ns;
  uint32_t head_got;
  SSL *ssl;
};

static struct {
  int port, connections, variants, new_connections, hold, tls, anonymous;
  enum { IN_TURN, UNIFORM, ZIPF } draw;
  uint64_t requests, length, put;
  double seconds, rate;
  const char *target;
} options = {.connections = 64, .variants = 1};

static struct connection connections[MAX_CONNECTIONS];
static SSL_CTX *context;
static char *buffer; /* heads are parsed here too: a head that arrives in pieces is read again */
static char partial_heads[MAX_CONNECTIONS][256];
static struct request *requests;
static uint64_t started, completed, errors, bytes_moved, latency[BUCKETS];
static uint64_t start_ns, stop_ns;
static char first_error[200];
static int poller, open_count;
/* Those whose next request is not due yet; with one interval for all, first in is first due. */
static int parked[MAX_CONNECTIONS];
static uint32_t parked_first, parked_end;
static uint32_t next_source;
static double *cumulative; /* of Zipf's law */

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Sixteen buckets for each power of two: 6 % wide. */
static int bucket_of(uint64_t ns) {
  if (ns < 16) return (int)ns;
  int shift = 63 - __builtin_clzll(ns) - 4;
  return (shift + 1) * 16 + (int)((ns >> shift) & 15);
}

static double percentile_us(double share) {
  uint64_t want = (uint64_t)(share * completed), seen = 0;
  for (int i = 0; i < BUCKETS; i++) {
    seen += latency[i];
    if (seen > want) return (i < 16 ? i : (16.0 + i % 16) * (1ull << (i / 16 - 1))) / 1000;
  }
  return 0;
}

static void leave(int fd) {
  SSL_free(connections[fd].ssl);
  connections[fd].ssl = NULL;
  close(fd);
  connections[fd].used = 0;
  open_count--;
}

static void fail(int fd, const char *why) {
  if (errors++ == 0) snprintf(first_error, sizeof first_error, "%s (errno %d)", why, errno);
  leave(fd);
}

/* As `send` and `recv`, with TLS where the connection has it. */
static ssize_t tls_result(int fd, int result) {
  if (result > 0) return result;
  int error = SSL_get_error(connections[fd].ssl, result);
  if (error == SSL_ERROR_ZERO_RETURN) return 0;
  errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
  return -1;
}

static ssize_t send_octets(int fd, const void *bytes, size_t count, int flags) {
  if (connections[fd].ssl == NULL) return send(fd, bytes, count, MSG_NOSIGNAL | flags);
  ERR_clear_error();
  return tls_result(fd, SSL_write(connections[fd].ssl, bytes, (int)count));
}

static ssize_t receive_octets(int fd, char *bytes, size_t count) {
  if (connections[fd].ssl == NULL) return recv(fd, bytes, count, 0);
  ERR_clear_error();
  return tls_result(fd, SSL_read(connections[fd].ssl, bytes, (int)count));
}

static void make_requests(void) {
  requests = calloc(options.variants, sizeof *requests);
  for (int i = 0; i < options.variants; i++) {
    char target[256], content[64] = "";
    const char *mark = strstr(options.target, "%u");
    if (mark != NULL)
      snprintf(target, sizeof target, "%.*s%d%s", (int)(mark - options.target), options.target,
               i, mark + 2);
    else
      snprintf(target, sizeof target, "%s", options.target);
    if (options.put > 0)
      snprintf(content, sizeof content, "Content-Length: %llu\r\n",
               (unsigned long long)options.put);
    requests[i].length = snprintf(
        requests[i].bytes, REQUEST_BYTES,
        "%s %s HTTP/1.1\r\nHost: bench.example.com\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
        "Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"
        "Referer: http://bench.example.com/\r\n%s%s%s\r\n",
        options.put > 0 ? "PUT" : "GET", target,
        options.anonymous
            ? "" : "Cookie: session=0123456789abcdef\r\nCache-Control: max-age=0\r\n",
        content,
        options.new_connections ? "Connection: close\r\n" : "");
    if (requests[i].length >= REQUEST_BYTES) fprintf(stderr, "target too long\n"), exit(2);
  }
}

static int may_start(void) {
  if (options.requests > 0) return started < options.requests;
  return now_ns() < stop_ns;
}

/* Sends what can be sent of the request; -1 when the connection is lost. */
static int push(int fd) {
  struct connection *c = &connections[fd];
  if (c->head_sent < c->request->length) {
    int more = options.put > 0 ? MSG_MORE : 0;
    ssize_t sent = send_octets(fd, c->request->bytes + c->head_sent,
                               c->request->length - c->head_sent, more);
    if (sent < 0) return errno == EAGAIN ? 0 : -1;
    c->head_sent += sent;
    if (c->head_sent < c->request->length) return 0;
  }
  while (c->put_sent < options.put) {
    uint64_t left = options.put - c->put_sent;
    size_t count = left < (256 << 10) ? left : 256 << 10;
    ssize_t sent = send_octets(fd, pattern_at(c->put_sent), count, 0);
    if (sent < 0) return errno == EAGAIN ? 0 : -1;
    c->put_sent += sent;
    bytes_moved += sent;
  }
  return 0;
}

/* SplitMix64 (Steele et al. 2014), from 0 up to 1. */
static double random_share(void) {
  static uint64_t state = 42;
  uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return (double)((z ^ (z >> 31)) >> 11) / (1ull << 53);
}

static void make_zipf(void) {
  cumulative = calloc(options.variants, sizeof *cumulative);
  double sum = 0;
  for (int i = 0; i < options.variants; i++) cumulative[i] = sum += pow(i + 1, -0.9);
}

static int next_variant(void) {
  if (options.draw == IN_TURN) return (int)(started % options.variants);
  double share = random_share();
  if (options.draw == UNIFORM) return (int)(share * options.variants);
  share *= cumulative[options.variants - 1];
  int low = 0, high = options.variants - 1;
  while (low < high) {
    int middle = (low + high) / 2;
    if (cumulative[middle] > share) high = middle;
    else low = middle + 1;
  }
  return low;
}

static int begin(int fd) {
  struct connection *c = &connections[fd];
  c->request = &requests[next_variant()];
  started++;
  c->head_sent = 0;
  c->put_sent = c->body_got = 0;
  c->head_got = 0;
  c->in_body = 0;
  c->started_ns = now_ns();
  return push(fd);
}

/* Sources rotate over 127.9.0.0/18, so that closed connections in TIME_WAIT never run us out of
 * ports. */
static void connect_one(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  if (fd < 0 || fd >= MAX_CONNECTIONS) perror("socket"), exit(2);
  struct sockaddr_in source = {.sin_family = AF_INET};
  source.sin_addr.s_addr = htonl(0x7f090001u + next_source++ % 16000);
  setsockopt(fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &one, sizeof one);
  bind(fd, (struct sockaddr *)&source, sizeof source);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options.port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  open_count++;
  connections[fd] = (struct connection){.used = 1};
  if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) return fail(fd, "connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) perror("fcntl"), exit(2);
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd};
  epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
  if (options.tls) {
    SSL *ssl = connections[fd].ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    SSL_set_connect_state(ssl);
    SSL_set_tlsext_host_name(ssl, "bench.example.com");
  }
  if (begin(fd) < 0) fail(fd, "send");
}

/* Parks the connection where its next request is not due. */
static int is_early(int fd) {
  struct connection *c = &connections[fd];
  c->due_ns = (c->due_ns > 0 ? c->due_ns : now_ns()) +
              (uint64_t)(options.connections / options.rate * 1e9);
  if (c->due_ns <= now_ns()) return 0;
  parked[parked_end++ % MAX_CONNECTIONS] = fd;
  return 1;
}

static int response_complete(int fd) {
  struct connection *c = &connections[fd];
  latency[bucket_of(now_ns() - c->started_ns)]++;
  completed++;
  if (options.hold) {
    if (may_start()) connect_one();
    return 0;
  }
  if (options.new_connections) {
    c->closing = 1;
    return 0;
  }
  if (may_start() && options.rate > 0 && is_early(fd)) return 0;
  if (may_start()) return begin(fd);
  leave(fd);
  return 0;
}

/* Begins what is due of the parked; nanoseconds until the next one is. */
static uint64_t unpark(void) {
  while (parked_first != parked_end) {
    int fd = parked[parked_first % MAX_CONNECTIONS];
    uint64_t now = now_ns();
    if (connections[fd].used && connections[fd].due_ns > now) return connections[fd].due_ns - now;
    parked_first++;
    if (!connections[fd].used) continue;
    if (!may_start()) leave(fd);
    else if (begin(fd) < 0) fail(fd, "send");
  }
  return 20000000000ull;
}

/* Returns the number of octets of the head, 0 when it is not complete, -1 when it is wrong. */
static int parse_head(char *bytes, int count) {
  char *end = memmem(bytes, count, "\r\n\r\n", 4);
  if (end == NULL) return 0;
  end[2] = 0;
  if (strncmp(bytes, "HTTP/1.1 200", 12) != 0) {
    errno = atoi(bytes + 9);
    return -1;
  }
  const char *length = strcasestr(bytes, "\ncontent-length:");
  uint64_t expected = options.put > 0 ? 0 : options.length;
  if (length == NULL || strtoull(length + 16, NULL, 10) != expected) return -1;
  return end + 4 - bytes;
}

static int body_octets(int fd, const char *bytes, size_t count) {
  struct connection *c = &connections[fd];
  uint64_t expected = options.put > 0 ? 0 : options.length;
  if (c->body_got + count > expected) return -1;
  if (!pattern_matches(bytes, count, c->body_got)) return -1;
  c->body_got += count;
  bytes_moved += count;
  return c->body_got == expected ? response_complete(fd) : 0;
}

static void receive(int fd) {
  struct connection *c = &connections[fd];
  while (c->used) {
    if (c->head_got > 0 && !c->in_body) memcpy(buffer, partial_heads[fd], c->head_got);
    size_t kept = c->in_body ? 0 : c->head_got;
    ssize_t count = receive_octets(fd, buffer + kept, READ_BYTES - kept);
    if (count < 0 && errno == EAGAIN) return;
    if (count == 0 && c->closing) {
      leave(fd);
      if (may_start()) connect_one();
      return;
    }
    if (count <= 0) return fail(fd, count == 0 ? "closed early" : "reset");
    if (c->closing || (options.hold && c->in_body && c->body_got == options.length))
      return fail(fd, "octets after the response");
    /* One record is read at a time, and the next may be there. */
    int full = c->ssl != NULL || (size_t)count == READ_BYTES - kept, head = 0;
    count += kept;
    if (!c->in_body) {
      head = parse_head(buffer, count);
      if (head < 0) return fail(fd, "wrong head or status");
      if (head == 0) {
        if (count > 256) return fail(fd, "head in too many pieces");
        memcpy(partial_heads[fd], buffer, count);
        c->head_got = count;
        continue;
      }
      c->in_body = 1;
    }
    if (body_octets(fd, buffer + head, count - head) < 0) return fail(fd, "wrong content");
    /* An edge may have told of octets and of the end at once. */
    if (!full && !c->closing) return;
  }
}

static void report(void) {
  double seconds = (now_ns() - start_ns) / 1e9;
  printf("{\"requests\": %llu, \"errors\": %llu, \"seconds\": %.6f, \"octets\": %llu, "
         "\"p50_us\": %.1f, \"p99_us\": %.1f, \"first_error\": \"%s\"}\n",
         (unsigned long long)completed, (unsigned long long)errors, seconds,
         (unsigned long long)bytes_moved, percentile_us(0.5), percentile_us(0.99), first_error);
  fflush(stdout);
}

static void parse_options(int argc, char **argv) {
  static const struct option names[] = {
      {"port", 1, 0, 'p'},     {"target", 1, 0, 't'},   {"length", 1, 0, 'l'},
      {"variants", 1, 0, 'v'}, {"connections", 1, 0, 'c'}, {"requests", 1, 0, 'n'},
      {"seconds", 1, 0, 's'},  {"put", 1, 0, 'u'},      {"new-connections", 0, 0, 'x'},
      {"hold", 0, 0, 'h'},     {"tls", 0, 0, 'e'},      {"anonymous", 0, 0, 'a'},
      {"draw", 1, 0, 'd'},     {"rate", 1, 0, 'r'},     {0, 0, 0, 0}};
  for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;) {
    switch (option) {
      case 'p': options.port = atoi(optarg); break;
      case 't': options.target = optarg; break;
      case 'l': options.length = strtoull(optarg, NULL, 10); break;
      case 'v': options.variants = atoi(optarg); break;
      case 'c': options.connections = atoi(optarg); break;
      case 'n': options.requests = strtoull(optarg, NULL, 10); break;
      case 's': options.seconds = atof(optarg); break;
      case 'u': options.put = strtoull(optarg, NULL, 10); break;
      case 'x': options.new_connections = 1; break;
      case 'h': options.hold = 1; break;
      case 'e': options.tls = 1; break;
      case 'a': options.anonymous = 1; break;
      case 'd': options.draw = strcmp(optarg, "zipf") == 0 ? ZIPF : UNIFORM; break;
      case 'r': options.rate = atof(optarg); break;
      default: exit(2);
    }
  }
  if (options.hold) options.requests = options.connections;
  if (options.port == 0 || options.target == NULL ||
      (options.requests == 0 && options.seconds == 0))
    fprintf(stderr, "usage: load --port P --target T --length N (--requests N | --seconds S)\n"),
        exit(2);
}

static void make_context(void) {
  signal(SIGPIPE, SIG_IGN);
  context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
  SSL_CTX_set1_groups_list(context, "X25519");
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
}

int main(int argc, char **argv) {
  parse_options(argc, argv);
  if (options.tls) make_context();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  pattern_make();
  buffer = malloc(READ_BYTES + 1);
  make_requests();
  if (options.draw == ZIPF) make_zipf();
  poller = epoll_create1(EPOLL_CLOEXEC);
  start_ns = now_ns();
  stop_ns = start_ns + (uint64_t)(options.seconds * 1e9);
  int at_once = options.hold && options.connections > 64 ? 64 : options.connections;
  for (int i = 0; i < at_once && may_start(); i++) connect_one();
  struct epoll_event events[256];
  /* A peer that falls silent for 20 s has failed. */
  while (open_count > 0 && errors == 0 && !(options.hold && completed == options.requests)) {
    uint64_t wait = unpark();
    if (open_count == 0) break;
    struct timespec timeout = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
    int count = epoll_pwait2(poller, events, 256, &timeout, NULL);
    if (count == 0 && parked_first == parked_end) {
      errors++;
      snprintf(first_error, sizeof first_error, "no event for 20 s");
    }
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (!connections[fd].used) continue;
      /* Within a handshake it is the peer's octets that let ours go on. */
      int waits = options.tls && connections[fd].head_sent < connections[fd].request->length;
      if ((events[i].events & EPOLLOUT || waits) && push(fd) < 0) {
        fail(fd, "send");
        continue;
      }
      if (events[i].events & ~(uint32_t)EPOLLOUT) receive(fd);
    }
  }
  report();
  if (options.hold && errors == 0)
    while (getchar() != EOF) continue;
  return errors > 0;
}
