#!/bin/sh
# First boot and renewal with curl and openssl: the whole exchange, to read and to copy.
#
#   firstboot.sh [--public] URL BOOTSTRAP_CERT BOOTSTRAP_KEY DIR [CA]
#
# URL is the service's mTLS host; with --public its public host, called with signed proofs, for P-256
# keys. CA (PEM) replaces the system's roots, for S3 too. At the end DIR holds the device's identity:
# certificate.pem (leaf, then issuing CA) and device.key. A run that was killed is continued by the
# next run. Later runs log in, and renew when it is time. An identity of another unit, from a copied disk,
# is moved to DIR/other and deleted when this unit's own has logged in.
# BOOTSTRAP_KEY is a file, or names a key in hardware as in device/key_uri.py: pkcs11:… needs OpenSSL's pkcs11-provider,
# activated in OPENSSL_CONF, or libengine-pkcs11-openssl; tpm2:file=… and tpm2:handle=… (with --public) need
# tpm2-openssl. Give a PIN by pin-source, because other users can see a command line.
# FIRSTBOOT_FIRST_WAIT, an environment variable that the factory sets, is the time in seconds in which all devices
# that get power together can enroll: a first boot begins after a random part of it.
# Exit codes: 0 done, 2 usage, 10 retry, 11 wait, 12 stop, 13 reenroll (run again; if that
# ends with 13 too, begin with an empty DIR).
set -eu
umask 077 # the key file is readable by its owner only, from its first byte on
public=
[ "${1-}" != --public ] || { public=yes; shift; }
[ $# -ge 4 ] || { sed -n '4s/# *//p' "$0" >&2; exit 2; }
url=${1%/} bootstrap_cert=$2 bootstrap_key=$3 dir=$4
[ $# -eq 4 ] || export CURL_CA_BUNDLE="$5"
first_wait=${FIRSTBOOT_FIRST_WAIT:-0}
case $first_wait in *[!0-9]*) echo "FIRSTBOOT_FIRST_WAIT is not a number of seconds" >&2; exit 2 ;; esac
work=$dir/work answer=$dir/work/answer
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT

give_up() { # ACTION MESSAGE
    echo "$1: $2" >&2
    case $1 in retry) exit 10 ;; wait) exit 11 ;; reenroll) exit 13 ;; *) exit 12 ;; esac
}
text() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$answer"; }
number() { sed -n "s/.*\"$1\": *\([0-9][0-9]*\).*/\1/p" "$answer"; }
keep() { sync; mv "$1" "$2"; sync; } # the file has its name only once it is complete and on disk
https() { # [CURL OPTION...]: call once; give up at once if the server's certificate can't be verified
    code=0
    curl --silent --show-error --proto =https --max-time 60 "$@" 2> "$work/why" || code=$?
    cat "$work/why" >&2
    case $code in
        60) ! grep -q 'not yet valid\|expired' "$work/why" ||
                give_up retry "the server's TLS certificate is not valid now: check this device's clock"
            give_up stop "the server's TLS certificate is not trusted: check CA and the host's name" ;;
        77) give_up stop "CA can't be read, or is not a certificate in PEM format" ;;
    esac
    return $code
}
gave_up() { # after a subshell: end this shell too if it gave up
    code=$?
    case $code in 10 | 12) exit $code ;; esac
}
below() { # BOUND: print a random number from 0 to BOUND, which no other board of this image draws
    echo $((0x$(openssl rand -hex 4) % ($1 + 1)))
}
decoded() { # TEXT: print it without percent-encoding
    printf '%b' "$(printf %s "$1" | sed 's/\\/\\\\/g; s/%\([0-9A-Fa-f][0-9A-Fa-f]\)/\\x\1/g')"
}
attribute() { # NAME: print an attribute of the query of $bootstrap_key
    decoded "$(printf %s "$bootstrap_key" | sed -n "s/.*[?&]$1=\([^&]*\).*/\1/p")"
}
held_key() { # print the name by which openssl and curl find BOOTSTRAP_KEY, if that names a key in hardware
    case $bootstrap_key in
        pkcs11:*) pkcs11_key ;;
        tpm2:handle=*)
            [ "$public" ] || give_up stop "curl can't use a TPM's handle: use tpm2:file=, or --public"
            printf 'handle:%s' "$(decoded "$(expr "$bootstrap_key" : 'tpm2:handle=\([^?;]*\)')")" ;;
        tpm2:file=*) decoded "$(expr "$bootstrap_key" : 'tpm2:file=\([^?;]*\)')" ;;
        tpm2:*) give_up stop "a tpm2: URI begins with tpm2:file= or tpm2:handle=" ;;
        *) printf %s "$bootstrap_key" ;;
    esac
}
pkcs11_key() { # the provider takes the URI in a file, which every program reads. The engine takes it as it is.
    path=${bootstrap_key%%\?*} query=${bootstrap_key#"${bootstrap_key%%\?*}"}
    case $path in *[:\;]type=*) ;; *) path="$path;type=private" ;; esac # the public key has the same label
    case $(openssl list -providers) in
        *pkcs11*) ;;
        *)  # the engine refuses attributes that it does not know
            printf %s "$path$(printf %s "$query" | sed 's/module-path=[^&]*&*//; s/[?&]$//')"
            return ;;
    esac
    printf 'asn1 = SEQUENCE:uri\n[uri]\na = VISIBLESTRING:PKCS\\#11 Provider URI v1.0\nb = UTF8:%s\n' \
        "$(printf %s "$path$query" | sed 's/[$#"\\]/\\&/g')" > "$work/uri"
    openssl asn1parse -genconf "$work/uri" -noout -out "$work/der"
    { echo '-----BEGIN PKCS#11 PROVIDER URI-----'; openssl base64 -in "$work/der"
      echo '-----END PKCS#11 PROVIDER URI-----'; } > "$work/bootstrap.key"
    printf %s "$work/bootstrap.key"
}
base64url() { openssl base64 -A | tr '+/' '-_' | tr -d =; }

proof() { # a JWT for one request: $cert's owner calls $method $path with $body (docs/protocol.md, "Signed proof")
    x5c=$(openssl x509 -in "$cert" | sed '/-----/d' | tr -d '\n') # the leaf; PEM is base64 of its DER
    header=$(printf '{"typ":"firstboot-proof+jwt","alg":"ES256","x5c":["%s"]}' "$x5c" | base64url)
    bsh=$(openssl dgst -sha256 -binary "$body" | base64url)
    claims=$(printf '{"htm":"%s","htu":"%s","bsh":"%s","jti":"%s","nonce":"%s"}' \
        "$method" "$url$path" "$bsh" "$(openssl rand -hex 16)" "$(text nonce)" | base64url)
    # The signature of openssl is two ASN.1 INTEGERs. In a JWT it is the two numbers, 32 bytes each.
    set --
    case $key in pkcs11:*) set -- -engine pkcs11 -keyform engine ;; esac
    hex=$(printf %s "$header.$claims" | openssl dgst -sha256 "$@" -sign "$key" | openssl asn1parse -inform DER |
        sed -n 's/.*INTEGER *://p' | while read -r part; do printf '%64s' "$part" | tr ' ' 0; done)
    openssl asn1parse -genstr "FORMAT:HEX,OCT:$hex" -noout -out "$work/signature"
    printf %s "$header.$claims.$(tail -c 64 "$work/signature" | base64url)"
}

send() { # [CURL OPTION...]: make the call once, and print the answer's status
    if [ "$public" ]; then
        status=$(https --max-filesize 4096 --output "$answer" --write-out '%{http_code}' "$url/v1/nonce") ||
            { gave_up; return 1; }
        case $status in 429 | 503) printf %s "$status"; return ;; esac
        [ "$(text nonce)" ] || return 1
        # The proof is in a file, because other users can see a command line.
        printf 'Authorization: Bearer %s\n' "$(proof)" > "$work/proof"
        set -- --header "@$work/proof" "$@"
    else
        # In --cert a password follows a colon, so a file's own colons (of an id) are escaped.
        set -- --cert "$(printf %s "$cert" | sed 's/[\\:]/\\&/g')" --key "$key" "$@"
        case $key in pkcs11:*) set -- --engine pkcs11 --key-type ENG "$@" ;; esac
    fi
    : > "$answer"
    https --max-filesize 4096 --request "$method" --output "$answer" --write-out '%{http_code}' "$@" "$url$path"
}

call() { # CERT KEY METHOD PATH [CSR]: call until the answer is in $answer; the numbers are those of patience.py
    cert=$1 key=$2 method=$3 path=$4 body=${5-/dev/null}
    shift 4
    [ $# -eq 0 ] || set -- --header 'Content-Type: application/pkcs10' --data-binary "@$body"
    tries=6 bound=1 overload_tries=24 overload_bound=240
    while :; do
        : > "$answer"
        status=$(send "$@") || { gave_up; status=000; }
        action=$(text action)
        case $status in
            200 | 201) return ;;
            202) action='wait' ;;                          # not issued yet
            000 | 429 | 5??) action=${action:-retry} ;;    # no answer, or one of API Gateway
            *) action=${action:-stop} ;;
        esac
        case $action in retry | wait) ;; *) break ;; esac
        seconds=$(number retryAfter)
        case $status$seconds in
            429* | 202?* | 503?*) # too many requests: the service names this device's slot, its gateway no time
                left=$((overload_tries -= 1)) pause=$overload_bound longest=3900
                overload_bound=$((pause * 4 < 960 ? pause * 4 : 960)) ;;
            *) left=$((tries -= 1)) pause=$bound longest=300 bound=$((bound * 2)) ;;
        esac
        [ "$seconds" ] || [ "$action" = retry ] || break
        [ "$left" -gt 0 ] && [ "${seconds:-0}" -le "$longest" ] || break
        # Devices that lost power together must not call again together, so each has its own pause.
        sleep "${seconds:-$(below "$pause")}"
    done
    give_up "$action" "$path answered $status $(text code)"
}

name() { # CHAIN: print the first certificate's common name
    openssl x509 -in "$1" -noout -subject -nameopt multiline | sed -n 's/^ *commonName *= *//p' | head -n 1
}
others() { # is what DIR holds another unit's, if it was not made with this bootstrap key?
    # A run was killed while it moved the files of an older script: the note is written last.
    [ "$noted" ] || [ ! -e "$dir/other" ] || return 0
    certified=
    for chain in "$dir/certificate.pem" "$dir/next.chain"; do
        [ -e "$chain" ] || continue
        certified=yes
        [ "$(name "$chain")" = "$(name "$bootstrap_cert")" ] || return 0
    done
    [ ! "$certified" ] && [ "$noted" ] && [ -e "$dir/next.private" ]
}
set_aside() { # the certificate before its key, or the rest would look like an interrupted step 6
    echo "the identity in $dir is another unit's: this unit enrolls anew" >&2
    mkdir -p "$dir/other"
    for file in next.chain next.private device.key certificate.pem; do
        [ -e "$dir/$file" ] || continue
        if [ -e "$dir/other/$file" ]; then rm "$dir/$file"; else keep "$dir/$file" "$dir/other/$file"; fi
    done
}

# Do the second rename of step 6 if a power failure came between the two.
[ -e "$dir/next.private" ] || [ ! -e "$dir/next.chain" ] || keep "$dir/next.chain" "$dir/certificate.pem"

# Move another unit's identity away. The bootstrap key that it was made with decides. If that is another key, the
# names decide, because a unit may get a new bootstrap key. Without a bootstrap certificate nothing is decided.
if public_key=$(openssl x509 -in "$bootstrap_cert" -noout -pubkey 2> "$work/why"); then
    origin=$(echo "$public_key" | openssl dgst -sha256 -r | cut -c 1-64)
    noted=$(cat "$dir/origin" 2> "$work/why") || noted=
    if [ "$noted" != "$origin" ]; then
        ! others || set_aside
        echo "$origin" > "$work/origin"
        keep "$work/origin" "$dir/origin"
    elif [ -e "$dir/certificate.pem" ]; then
        rm -rf "$dir/other"
    fi
fi

case $bootstrap_key in
    pkcs11:*) module=$(attribute module-path); [ ! "$module" ] || export PKCS11_MODULE_PATH="$module" ;;
    tpm2:*) tcti=$(attribute tcti); [ ! "$tcti" ] || export TPM2OPENSSL_TCTI="$tcti" ;;
esac
bootstrap_key=$(held_key)

# The bootstrap certificate asks, or the live one if a renewal is due or has begun.
asker_cert=$bootstrap_cert asker_key=$bootstrap_key
if [ -e "$dir/certificate.pem" ]; then
    asker_cert=$dir/certificate.pem asker_key=$dir/device.key
    if [ ! -e "$dir/next.private" ]; then
        call "$asker_cert" "$asker_key" POST /v1/certificates/commit
        call "$asker_cert" "$asker_key" GET /v1/device
        grep -q '"renew": *true' "$answer" || exit 0
    fi
fi

# 1. Store the key before its CSR is sent, because the service certifies one key at a time.
if [ ! -e "$dir/next.private" ]; then
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/key"
    keep "$work/key" "$dir/next.private"
fi

# Nothing is stored about the first wait. After a power cut in the middle of it all devices draw again.
[ "$first_wait" -eq 0 ] || [ -e "$dir/certificate.pem" ] || [ -e "$dir/next.chain" ] || sleep "$(below "$first_wait")"

if [ ! -e "$dir/next.chain" ]; then
    # 2. Send its CSR, without a name, because the service names the device. The key stays here.
    openssl req -new -key "$dir/next.private" -subj / -out "$work/csr"
    call "$asker_cert" "$asker_key" POST /v1/certificates "$work/csr"

    # 3. Download the certificate. Its URL is a secret, and other users can see a command line.
    printf 'url = "%s"\n' "$(text certificateUrl)" |
        https --fail --max-filesize 65536 --output "$work/chain" --config - ||
        { gave_up; give_up retry "the certificate's URL failed; the next run gets a new one"; }

    # 4. Check it. The service checks the dates, because this device may have no clock yet.
    openssl x509 -in "$work/chain" -out "$work/leaf"
    sed '1,/END CERTIFICATE/d' "$work/chain" > "$work/issuer"
    [ "$(openssl x509 -in "$work/leaf" -noout -pubkey)" = "$(openssl pkey -in "$dir/next.private" -pubout)" ] ||
        give_up stop "the certificate is for another key"
    [ "$(openssl x509 -in "$work/leaf" -noout -subject -nameopt RFC2253)" = "subject=CN=$(text deviceId)" ] ||
        give_up stop "the certificate names another device"
    [ "$(openssl x509 -in "$work/leaf" -outform DER | openssl dgst -sha256 -r | cut -c 1-64)" = "$(text certificateId)" ] ||
        give_up stop "the certificate is not the one announced"
    openssl verify -no_check_time -partial_chain -trusted "$work/issuer" "$work/leaf" > /dev/null ||
        give_up stop "the certificate is not issued by the CA beside it"
    keep "$work/chain" "$dir/next.chain"
fi

# 5. Log in with it: only this commits it. Delete it if it lapsed before.
(call "$dir/next.chain" "$dir/next.private" POST /v1/certificates/commit) || {
    code=$?
    [ $code -ne 13 ] || { rm "$dir/next.chain"; sync; rm "$dir/next.private"; }
    exit $code
}

# 6. Make it the live identity, key first.
keep "$dir/next.private" "$dir/device.key"
keep "$dir/next.chain" "$dir/certificate.pem"
rm -rf "$dir/other"
