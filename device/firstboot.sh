#!/bin/sh
# First boot with curl and openssl: the whole exchange over mutual TLS, to read and to copy.
#
#   firstboot.sh URL BOOTSTRAP_CERT BOOTSTRAP_KEY DIR [CA]
#
# URL is the service's mTLS host. CA (PEM) replaces the system's roots, for S3 too. In the end DIR
# holds the device's identity: certificate.pem (leaf, then issuing CA) and device.key. Killed at
# any point and run again, it carries on; run again after that, it logs in.
# Exit codes: 0 done, 2 usage, 10 retry, 11 wait, 12 stop, 13 reenroll (begin with an empty DIR).
set -eu
umask 077 # the key is its owner's from its first byte on
[ $# -ge 4 ] || { sed -n '4s/# *//p' "$0" >&2; exit 2; }
url=${1%/} bootstrap_cert=$2 bootstrap_key=$3 dir=$4
[ $# -eq 4 ] || export CURL_CA_BUNDLE="$5"
work=$dir/work answer=$dir/work/answer
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT

give_up() { # ACTION MESSAGE
    echo "$1: $2" >&2
    case $1 in retry) exit 10 ;; wait) exit 11 ;; reenroll) exit 13 ;; *) exit 12 ;; esac
}
text() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$answer"; }
number() { sed -n "s/.*\"$1\": *\([0-9][0-9]*\).*/\1/p" "$answer"; }
keep() { sync; mv "$1" "$2"; sync; } # under its name only whole and on disk
https() { curl --silent --show-error --proto =https --max-time 60 "$@"; }

call() { # CERT KEY PATH [CURL OPTION...]: POST, until the answer is in $answer; give up if it never is
    cert=$1 key=$2 path=$3
    shift 3
    for pause in 1 2 4 8 16 0; do
        : > "$answer"
        status=$(https --cert "$cert" --key "$key" --max-filesize 4096 --request POST \
            --output "$answer" --write-out '%{http_code}' "$@" "$url$path") || status=000
        action=$(text action)
        case $status in
            200 | 201) return ;;
            202) action='wait' ;;                          # not issued yet
            000 | 429 | 5??) action=${action:-retry} ;;    # no answer, or API Gateway's own
            *) action=${action:-stop} ;;
        esac
        case $action in retry | wait) ;; *) break ;; esac
        seconds=$(number retryAfter)
        # A fleet that lost power together must not come back together: a pause of one's own.
        [ "$pause" -eq 0 ] || sleep "${seconds:-$((pause + $$ % pause))}"
    done
    give_up "$action" "$path answered $status $(text code)"
}

# A power failure between the two renames of step 6 left the second to do.
[ -e "$dir/next.private" ] || [ ! -e "$dir/next.chain" ] || keep "$dir/next.chain" "$dir/certificate.pem"
if [ -e "$dir/certificate.pem" ]; then
    call "$dir/certificate.pem" "$dir/device.key" /v1/certificates/commit
    exit 0
fi

# 1. A key, on disk before anyone hears of it: the service certifies one key, not two.
if [ ! -e "$dir/next.private" ]; then
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/key"
    keep "$work/key" "$dir/next.private"
fi

if [ ! -e "$dir/next.chain" ]; then
    # 2. Its CSR, without a name: the service names the device. The key stays.
    openssl req -new -key "$dir/next.private" -subj / -out "$work/csr"
    call "$bootstrap_cert" "$bootstrap_key" /v1/certificates \
        --header 'Content-Type: application/pkcs10' --data-binary "@$work/csr"

    # 3. The certificate. Its URL is a secret: no place on a command line, where others see it.
    printf 'url = "%s"\n' "$(text certificateUrl)" |
        https --fail --max-filesize 65536 --output "$work/chain" --config - ||
        give_up retry "the certificate's URL failed; the next run gets a new one"

    # 4. Is it ours? Dates are the service's to check: this device may have no clock yet.
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

# 5. Log back in: only this makes the certificate the device's own.
call "$dir/next.chain" "$dir/next.private" /v1/certificates/commit

# 6. Make it the live identity, key first.
keep "$dir/next.private" "$dir/device.key"
keep "$dir/next.chain" "$dir/certificate.pem"
