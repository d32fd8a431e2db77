/* Mbed TLS as a device and as a maker's CA.
 *
 *     mbedtls HOST PORT CA BOOTSTRAP_CERT BOOTSTRAP_KEY
 *
 * is a first boot: it makes a P-256 key, sends a CSR over mTLS, checks that the certificate in the answer is for this
 * key, and logs in with it. It prints the answer to the log-in. Keys, CSR, TLS and base64 are Mbed TLS's.
 *
 *     mbedtls FOLDER
 *
 * writes csr.der, ca.der and leaf.der into FOLDER: a CSR, a CA, and a certificate by this CA for the key of the CSR.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/base64.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/ecp.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#include <mbedtls/x509_csr.h>

#if MBEDTLS_VERSION_MAJOR >= 3
#include <psa/crypto.h>
#define RANDOM , mbedtls_ctr_drbg_random, &random_state
#else
#define RANDOM
#endif

static mbedtls_ctr_drbg_context random_state;

static void check(int result, const char *step)
{
    if (result < 0) {
        fprintf(stderr, "%s: -0x%04x\n", step, (unsigned) -result);
        exit(1);
    }
}

/* Send a POST with a JSON body over mTLS; keep the answer's head and body. */
static void post(const char *host, const char *port, mbedtls_x509_crt *ca, mbedtls_x509_crt *certificate,
                 mbedtls_pk_context *key, const char *path, const char *body, char *answer, size_t size)
{
    mbedtls_net_context socket;
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config config;
    char request[4096];
    size_t sent = 0, received = 0;
    int count;

    mbedtls_net_init(&socket);
    mbedtls_ssl_init(&ssl);
    mbedtls_ssl_config_init(&config);
    check(mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                      MBEDTLS_SSL_PRESET_DEFAULT), "TLS defaults");
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random_state);
    mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(&config, ca, NULL);
    check(mbedtls_ssl_conf_own_cert(&config, certificate, key), "own certificate");
    check(mbedtls_ssl_setup(&ssl, &config), "TLS set-up");
    check(mbedtls_ssl_set_hostname(&ssl, host), "host name");
    check(mbedtls_net_connect(&socket, host, port, MBEDTLS_NET_PROTO_TCP), "connect");
    mbedtls_ssl_set_bio(&ssl, &socket, mbedtls_net_send, mbedtls_net_recv, NULL);
    check(mbedtls_ssl_handshake(&ssl), "handshake");

    snprintf(request, sizeof request,
             "POST %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/json\r\n"
             "Content-Length: %u\r\nConnection: close\r\n\r\n%s",
             path, host, port, (unsigned) strlen(body), body);
    while (sent < strlen(request)) {
        count = mbedtls_ssl_write(&ssl, (unsigned char *) request + sent, strlen(request) - sent);
        check(count, "send");
        sent += (size_t) count;
    }
    while (received + 1 < size) {
        count = mbedtls_ssl_read(&ssl, (unsigned char *) answer + received, size - 1 - received);
        if (count == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY || count == 0)
            break;
#if MBEDTLS_VERSION_MAJOR >= 3
        if (count == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
            continue;
#endif
        check(count, "receive");
        received += (size_t) count;
    }
    answer[received] = 0;
    mbedtls_ssl_free(&ssl);
    mbedtls_ssl_config_free(&config);
    mbedtls_net_free(&socket);
}

static void require_status(const char *answer, const char *status)
{
    if (strncmp(answer + strlen("HTTP/1.1 "), status, 3) != 0) {
        fprintf(stderr, "%s\n", answer);
        exit(1);
    }
}

/* Write a CSR in DER; return where in `buffer` it begins, since the library writes it at the end. */
static unsigned char *request_certificate(mbedtls_pk_context *key, unsigned char *buffer, size_t size, int *length)
{
    mbedtls_x509write_csr csr;

    mbedtls_x509write_csr_init(&csr);
    mbedtls_x509write_csr_set_md_alg(&csr, MBEDTLS_MD_SHA256);
    mbedtls_x509write_csr_set_key(&csr, key);
    check(mbedtls_x509write_csr_set_subject_name(&csr, "CN=device"), "subject");
    *length = mbedtls_x509write_csr_der(&csr, buffer, size, mbedtls_ctr_drbg_random, &random_state);
    check(*length, "CSR");
    mbedtls_x509write_csr_free(&csr);
    return buffer + size - *length;
}

static void read_certificate(const char *answer, mbedtls_x509_crt *certificate)
{
    unsigned char der[2048];
    size_t length;
    const char *begin = strstr(answer, "\"certificate\":"), *end;

    if (begin != NULL && (begin = strchr(begin + strlen("\"certificate\":"), '"')) != NULL
        && (end = strchr(++begin, '"')) != NULL) {
        check(mbedtls_base64_decode(der, sizeof der, &length, (const unsigned char *) begin,
                                    (size_t) (end - begin)), "base64");
        check(mbedtls_x509_crt_parse_der(certificate, der, length), "certificate");
        return;
    }
    fprintf(stderr, "no certificate in the answer: %s\n", answer);
    exit(1);
}

static void write_file(const char *folder, const char *name, const unsigned char *content, int length)
{
    char path[1024];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "wb");
    check(file != NULL && fwrite(content, 1, (size_t) length, file) == (size_t) length && !fclose(file) ? 0 : -1, path);
}

static void new_key(mbedtls_pk_context *key)
{
    mbedtls_pk_init(key);
    check(mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)), "key");
    check(mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(*key), mbedtls_ctr_drbg_random,
                              &random_state), "key");
}

/* Write a certificate for `subject_key`, valid from 2024 to 2044. */
static void issue(const char *folder, const char *name, const char *subject, mbedtls_pk_context *subject_key,
                  mbedtls_pk_context *issuer_key, int is_ca)
{
    mbedtls_x509write_cert certificate;
    unsigned char der[2048];
    int length;
#if MBEDTLS_VERSION_MAJOR < 3
    mbedtls_mpi serial;

    mbedtls_mpi_init(&serial);
    check(mbedtls_mpi_lset(&serial, 7 + is_ca), "serial");
#else
    unsigned char serial[] = { (unsigned char) (7 + is_ca) };
#endif
    mbedtls_x509write_crt_init(&certificate);
    mbedtls_x509write_crt_set_md_alg(&certificate, MBEDTLS_MD_SHA256);
#if MBEDTLS_VERSION_MAJOR < 3
    check(mbedtls_x509write_crt_set_serial(&certificate, &serial), "serial");
#else
    check(mbedtls_x509write_crt_set_serial_raw(&certificate, serial, sizeof serial), "serial");
#endif
    mbedtls_x509write_crt_set_subject_key(&certificate, subject_key);
    mbedtls_x509write_crt_set_issuer_key(&certificate, issuer_key);
    check(mbedtls_x509write_crt_set_subject_name(&certificate, subject), "subject");
    check(mbedtls_x509write_crt_set_issuer_name(&certificate, "CN=Factory,O=Mbed"), "issuer");
    check(mbedtls_x509write_crt_set_validity(&certificate, "20240101000000", "20440101000000"), "validity");
    check(mbedtls_x509write_crt_set_basic_constraints(&certificate, is_ca, is_ca - 1), "basic constraints");
    check(mbedtls_x509write_crt_set_key_usage(
              &certificate, is_ca ? MBEDTLS_X509_KU_KEY_CERT_SIGN : MBEDTLS_X509_KU_DIGITAL_SIGNATURE), "key usage");
    length = mbedtls_x509write_crt_der(&certificate, der, sizeof der, mbedtls_ctr_drbg_random, &random_state);
    check(length, "certificate");
    write_file(folder, name, der + sizeof der - length, length);
    mbedtls_x509write_crt_free(&certificate);
}

int main(int argc, char **argv)
{
    mbedtls_entropy_context entropy;
    mbedtls_x509_crt ca, bootstrap, own;
    mbedtls_pk_context bootstrap_key, key;
    unsigned char buffer[2048], text[2048], *csr;
    char body[3072], answer[8192], version[32];
    size_t length;
    int csr_length;

    mbedtls_version_get_string_full(version);
    fprintf(stderr, "%s\n", version);
#if MBEDTLS_VERSION_MAJOR >= 3
    check(psa_crypto_init() == PSA_SUCCESS ? 0 : -1, "PSA");
#endif
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random_state);
    check(mbedtls_ctr_drbg_seed(&random_state, mbedtls_entropy_func, &entropy, NULL, 0), "random numbers");
    new_key(&key);
    csr = request_certificate(&key, buffer, sizeof buffer, &csr_length);
    if (argc == 2) {
        new_key(&bootstrap_key);
        write_file(argv[1], "csr.der", csr, csr_length);
        issue(argv[1], "ca.der", "CN=Factory,O=Mbed", &bootstrap_key, &bootstrap_key, 1);
        issue(argv[1], "leaf.der", "CN=SN-1,O=Mbed", &key, &bootstrap_key, 0);
        return 0;
    }
    if (argc != 6)
        return 2;

    mbedtls_x509_crt_init(&ca);
    mbedtls_x509_crt_init(&bootstrap);
    mbedtls_x509_crt_init(&own);
    mbedtls_pk_init(&bootstrap_key);
    check(mbedtls_x509_crt_parse_file(&ca, argv[3]), "CA");
    check(mbedtls_x509_crt_parse_file(&bootstrap, argv[4]), "bootstrap certificate");
    check(mbedtls_pk_parse_keyfile(&bootstrap_key, argv[5], NULL RANDOM), "bootstrap key");

    check(mbedtls_base64_encode(text, sizeof text, &length, csr, (size_t) csr_length), "base64");
    snprintf(body, sizeof body, "{\"csr\":\"%s\",\"deliver\":\"inline\"}", text);
    post(argv[1], argv[2], &ca, &bootstrap, &bootstrap_key, "/v1/certificates", body, answer, sizeof answer);
    require_status(answer, "201");
    read_certificate(answer, &own);
    check(mbedtls_pk_check_pair(&own.pk, &key RANDOM), "the certificate is for another key");

    post(argv[1], argv[2], &ca, &own, &key, "/v1/certificates/commit", "", answer, sizeof answer);
    require_status(answer, "200");
    puts(strstr(answer, "\r\n\r\n") + 4);
    return 0;
}
