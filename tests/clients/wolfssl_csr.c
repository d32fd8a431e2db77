/* A CSR by wolfSSL: csr FILE writes one of a new P-256 key in DER into FILE. */

#include <stdio.h>
#include <string.h>

#include <wolfssl/options.h>
#include <wolfssl/version.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/random.h>

/* The headers have a function that calls this one. The library does not export it, and nothing here uses it. */
int blake2b(byte *out, const void *in, const void *key, byte out_length, word64 in_length, byte key_length)
{
    return -1;
}

int main(int argc, char **argv)
{
    static Cert request;
    unsigned char der[2048];
    ecc_key key;
    WC_RNG rng;
    FILE *file;
    int length;

    if (argc != 2 || wc_InitRng(&rng) != 0 || wc_ecc_init(&key) != 0 || wc_ecc_make_key(&rng, 32, &key) != 0
        || wc_InitCert(&request) != 0)
        return 1;
    fprintf(stderr, "wolfSSL %s\n", LIBWOLFSSL_VERSION_STRING);
    strcpy(request.subject.commonName, "device");
    strcpy(request.subject.serialDev, "SN_1");
    strcpy(request.challengePw, "secret");
    request.sigType = CTC_SHA256wECDSA;
    if (wc_MakeCertReq_ex(&request, der, sizeof der, ECC_TYPE, &key) < 0)
        return 2;
    length = wc_SignCert_ex(request.bodySz, request.sigType, der, sizeof der, ECC_TYPE, &key, &rng);
    if (length < 0)
        return 3;
    file = fopen(argv[1], "wb");
    return file == NULL || fwrite(der, 1, (size_t) length, file) != (size_t) length || fclose(file);
}
