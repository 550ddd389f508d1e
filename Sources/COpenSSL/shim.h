/* What of OpenSSL's interface is a macro, and so invisible to Swift, as functions; and the few
   walks over its stacks, which are macros throughout. No policy lives here. */
#ifndef WEIR_OPENSSL_SHIM_H
#define WEIR_OPENSSL_SHIM_H

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <string.h>

/* No renegotiation, no compression, the server's order of ciphers, and no session identifiers:
   sessions are resumed by tickets alone. */
static inline void weir_ssl_ctx_harden(SSL_CTX *ctx) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

static inline void weir_ssl_ctx_no_tickets(SSL_CTX *ctx) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx, 0);
}

static inline int weir_ssl_ctx_set_min_version(SSL_CTX *ctx, int version) {
    return (int)SSL_CTX_set_min_proto_version(ctx, version);
}

static inline int weir_ssl_ctx_set_groups(SSL_CTX *ctx, const char *list) {
    return (int)SSL_CTX_set1_groups_list(ctx, list);
}

static inline int weir_ssl_ctx_add1_chain(SSL_CTX *ctx, X509 *x) {
    return (int)SSL_CTX_add1_chain_cert(ctx, x);
}

static inline void weir_ssl_ctx_session_cache(SSL_CTX *ctx, long mode) {
    SSL_CTX_set_session_cache_mode(ctx, mode);
}

static inline void weir_ssl_ctx_set_servername(
    SSL_CTX *ctx, int (*callback)(SSL *, int *, void *), void *argument) {
    SSL_CTX_set_tlsext_servername_callback(ctx, callback);
    SSL_CTX_set_tlsext_servername_arg(ctx, argument);
}

static inline int weir_ssl_set_servername(SSL *ssl, const char *name) {
    return (int)SSL_set_tlsext_host_name(ssl, name);
}

/* One slot of user data for each connection: SSL_set_app_data is ex_data at index 0. */
static inline void weir_ssl_set_context(SSL *ssl, void *context) { SSL_set_app_data(ssl, context); }
static inline void *weir_ssl_context(const SSL *ssl) { return SSL_get_app_data(ssl); }

static inline void weir_bio_wants_more(BIO *bio) {
    BIO_clear_retry_flags(bio);
    BIO_set_retry_read(bio);
}
static inline void weir_bio_clear(BIO *bio) { BIO_clear_retry_flags(bio); }

static inline int weir_err_reason(unsigned long code) { return ERR_GET_REASON(code); }

/* The DNS names of a certificate's subjectAltName, each followed by a NUL, as far as they fit;
   where it has none, the common name (RFC 6125 section 6.4.4). Returns the octets written. */
static inline size_t weir_x509_names(const X509 *x, char *out, size_t capacity) {
    size_t used = 0;
    GENERAL_NAMES *names =
        (GENERAL_NAMES *)X509_get_ext_d2i((X509 *)x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS) continue;
        size_t length = (size_t)ASN1_STRING_length(name->d.dNSName);
        const unsigned char *text = ASN1_STRING_get0_data(name->d.dNSName);
        if (length == 0 || length + 1 > capacity - used || memchr(text, 0, length)) continue;
        memcpy(out + used, text, length);
        out[used + length] = 0;
        used += length + 1;
    }
    int had_names = names != NULL;
    GENERAL_NAMES_free(names);
    if (used == 0 && !had_names) {
        int length = X509_NAME_get_text_by_NID(
            X509_get_subject_name(x), NID_commonName, out, (int)capacity);
        if (length > 0) used = (size_t)length + 1;
    }
    return used;
}

/* Seconds since 1970, or `fallback` where the time cannot be read. */
static inline int64_t weir_asn1_seconds(const ASN1_TIME *time, int64_t fallback) {
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days = 0, seconds = 0;
    int ok = epoch && time && ASN1_TIME_diff(&days, &seconds, epoch, time);
    ASN1_TIME_free(epoch);
    return ok ? (int64_t)days * 86400 + seconds : fallback;
}

/* RFC 2253 form, everything but printable ASCII escaped. Returns the octets written, 0 where it
   does not fit. */
static inline size_t weir_x509_subject(const X509 *x, char *out, size_t capacity) {
    BIO *bio = BIO_new(BIO_s_mem());
    size_t written = 0;
    if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(x), 0, XN_FLAG_RFC2253) >= 0) {
        char *text = NULL;
        long length = BIO_get_mem_data(bio, &text);
        if (length > 0 && (size_t)length <= capacity) {
            memcpy(out, text, (size_t)length);
            written = (size_t)length;
        }
    }
    BIO_free(bio);
    return written;
}

static inline int weir_x509_sha256(const X509 *x, unsigned char out[32]) {
    unsigned int length = 0;
    return X509_digest(x, EVP_sha256(), out, &length) && length == 32;
}

/* The HMAC of a session ticket (RFC 5077 section 4). */
static inline int weir_ticket_mac(EVP_MAC_CTX *mac, unsigned char *key, size_t length) {
    OSSL_PARAM params[3];
    params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key, length);
    params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0);
    params[2] = OSSL_PARAM_construct_end();
    return EVP_MAC_CTX_set_params(mac, params);
}

#endif
