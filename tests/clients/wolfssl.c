/* wolfSSL as a device and as a maker's CA.
 *
 *     wolfssl FOLDER
 *
 * writes csr.der, ca.der and leaf.der into FOLDER: a CSR, a CA, and a certificate by this CA for the key of the CSR.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/options.h>
#include <wolfssl/version.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/random.h>

static WC_RNG rng;
static unsigned char der[2048];

/* The headers have a function that calls this one. The library does not export it, and nothing here uses it. */
int blake2b(byte *out, const void *in, const void *key, byte out_length, word64 in_length, byte key_length)
{
    return -1;
}

static int check(int result, const char *step)
{
    if (result < 0) {
        fprintf(stderr, "%s: %d\n", step, result);
        exit(1);
    }
    return result;
}

static void write_file(const char *folder, const char *name, int length)
{
    char path[1024];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "wb");
    check(file != NULL && fwrite(der, 1, (size_t) length, file) == (size_t) length && !fclose(file) ? 0 : -1, path);
}

static void new_key(ecc_key *key)
{
    check(wc_ecc_init(key), "key");
    check(wc_ecc_make_key(&rng, 32, key), "key");
}

static int signed_by(Cert *made, ecc_key *key)
{
    return check(wc_SignCert_ex(made->bodySz, made->sigType, der, sizeof der, ECC_TYPE, key, &rng), "signature");
}

static void begin(Cert *made, const char *common_name)
{
    check(wc_InitCert(made), "certificate");
    strcpy(made->subject.commonName, common_name);
    strcpy(made->subject.org, "Wolf");
    made->sigType = CTC_SHA256wECDSA;
    made->daysValid = 3650;
}

int main(int argc, char **argv)
{
    static Cert made;
    static unsigned char authority[2048];
    ecc_key key, authority_key;
    int length;

    if (argc != 2)
        return 2;
    fprintf(stderr, "wolfSSL %s\n", LIBWOLFSSL_VERSION_STRING);
    check(wc_InitRng(&rng), "random numbers");
    new_key(&key);
    new_key(&authority_key);

    begin(&made, "device");
    strcpy(made.subject.serialDev, "SN_1");
    strcpy(made.challengePw, "secret");
    check(wc_MakeCertReq_ex(&made, der, sizeof der, ECC_TYPE, &key), "CSR");
    write_file(argv[1], "csr.der", signed_by(&made, &key));

    begin(&made, "Factory");
    made.isCA = 1;
    made.selfSigned = 1;
    check(wc_SetKeyUsage(&made, "keyCertSign"), "key usage");
    check(wc_MakeCert_ex(&made, der, sizeof der, ECC_TYPE, &authority_key, &rng), "CA");
    length = signed_by(&made, &authority_key);
    memcpy(authority, der, (size_t) length);
    write_file(argv[1], "ca.der", length);

    begin(&made, "SN-1");
    check(wc_SetKeyUsage(&made, "digitalSignature"), "key usage");
    check(wc_SetIssuerBuffer(&made, authority, length), "issuer");
    check(wc_MakeCert_ex(&made, der, sizeof der, ECC_TYPE, &key, &rng), "certificate");
    write_file(argv[1], "leaf.der", signed_by(&made, &authority_key));
    return 0;
}
