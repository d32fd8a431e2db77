"""Test signed proofs with another library, and the nonces in them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from device.proof import proof
from device.refusal import Action
from device.store import FileIdentity, Identity
from tests import factories
from tests.device.bench import Bench, refused
from tests.device.service import COMMIT, ENROLL, NONCE, Reply, Service, problem

URL = "https://localhost:8444/v1/certificates?deviceId=dev1"
FACTORY = factories.authority()


def identity(folder: Path, key: Any = None, *issuers: x509.Certificate) -> FileIdentity:
    """Store a certificate for `key`, followed by `issuers`, and return the files."""
    key = key or factories.ec_key()
    chain = "".join(map(factories.pem, [FACTORY.issue("dev1", key), *issuers]))
    made = FileIdentity(folder / "some.crt", folder / "some.private")
    made.certificate.write_text(chain)
    made.key.write_text(factories.key_pem(key))
    return made


def sign(identity: Identity, body: bytes = b"body") -> str:
    """Return a proof."""
    return proof(identity, "POST", URL, body, "some-nonce")


@pytest.mark.parametrize(
    ("key", "algorithm"), [(factories.ec_key(), "ES256"), (factories.rsa_key(), "PS256")], ids=["ec", "rsa"]
)
def test_a_proof_is_for_one_request(tmp_path: Path, key: Any, algorithm: str) -> None:
    """A proof signs the method, the URL with its query, the body's hash and the nonce, and holds no time."""
    token = sign(identity(tmp_path, key))
    header = jwt.get_unverified_header(token)
    leaf = x509.load_der_x509_certificate(base64.b64decode(header["x5c"][0]))
    assert header == {"typ": "firstboot-proof+jwt", "alg": algorithm, "x5c": header["x5c"]}
    assert leaf.public_key() == key.public_key()
    claims = jwt.decode(token, key.public_key(), algorithms=[algorithm])
    assert len(claims.pop("jti")) >= 22
    assert claims == {
        "htm": "POST",
        "htu": URL,
        "bsh": "Iw2DWNyOiJC0xY3utikS7i8gNXrpKlzIYbmOaP4xrLU",  # openssl dgst -sha256 -binary of "body"
        "nonce": "some-nonce",
    }


def test_no_body_is_the_empty_body(tmp_path: Path) -> None:
    """A proof of a request without a body holds the hash of the empty text (FIPS 180-4's known answer)."""
    claims = jwt.decode(sign(identity(tmp_path), b""), options={"verify_signature": False})
    assert claims["bsh"] == "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"


def test_no_two_proofs_are_alike(tmp_path: Path) -> None:
    """Each proof has its own id, and all verify: r and s keep their leading zeros."""
    key = factories.ec_key()
    signer = identity(tmp_path, key)
    tokens = [sign(signer) for _ in range(1_000)]
    claims = [jwt.decode(token, key.public_key(), algorithms=["ES256"]) for token in tokens]
    assert len({each["jti"] for each in claims}) == len(tokens)


def test_intermediates_are_shown_and_roots_are_not(tmp_path: Path) -> None:
    """A proof holds the intermediate certificates of the chain and no root."""
    middle = FACTORY.intermediate("Middle")
    chain = identity(tmp_path, None, middle.certificate, FACTORY.certificate)
    shown = jwt.get_unverified_header(sign(chain))["x5c"]
    assert [x509.load_der_x509_certificate(base64.b64decode(der)) for der in shown][1:] == [
        middle.certificate
    ]


def encrypted(folder: Path) -> Identity:
    """Return an identity whose key is encrypted."""
    key = factories.ec_key()
    made = identity(folder, key)
    secret = BestAvailableEncryption(b"secret")
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    return made


def mixed(folder: Path) -> Identity:
    """Return an identity whose key is another certificate's."""
    made = identity(folder)
    made.key.write_text(factories.key_pem(factories.ec_key()))
    return made


def garbled(folder: Path) -> Identity:
    """Return an identity whose file is no certificate."""
    made = identity(folder)
    made.certificate.write_text("none")
    return made


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: identity(folder, factories.ec_key(ec.SECP384R1())), "secp384r1"),
        (lambda folder: identity(folder, ed25519.Ed25519PrivateKey.generate()), "neither EC nor RSA"),
        (encrypted, "can't be loaded"),
        (mixed, "another key"),
        (garbled, "can't be loaded"),
    ],
    ids=["P-384", "Ed25519", "encrypted", "mixed", "garbled"],
)
def test_an_identity_that_can_t_sign_is_refused_before_anything_is_sent(
    tmp_path: Path, make: Any, why: str
) -> None:
    """An identity that can't sign a proof stops the device with the reason."""
    refusal = refused(sign, make(tmp_path))
    assert refusal.action is Action.STOP
    assert why in refusal.detail


@pytest.fixture
def device(tmp_path: Path, service: Service) -> Bench:
    """Return a new device for the public host."""
    return Bench(tmp_path / "state", service, "public")


def test_one_nonce_serves_many_proofs(device: Bench, service: Service) -> None:
    """One nonce is used for all requests, each of which has its own proof."""
    device.boot()
    device.boot()
    assert service.nonces_given == 1
    assert len(service.proofs.headers) == len(service.requests) - 1  # the download needs none


def test_a_stale_nonce_is_replaced_at_once(device: Bench, service: Service) -> None:
    """After a refusal with a new nonce the device repeats the request once, without a pause."""
    device.boot()
    service.proofs.renew_nonce()
    service.requests.clear()
    device.client.commit(device.live)
    device.client.commit(device.live)
    assert service.requests == [COMMIT] * 3
    assert (service.nonces_given, device.pauses) == (1, [])


def test_a_service_whose_nonces_are_never_good_is_not_asked_for_ever(device: Bench, service: Service) -> None:
    """If every nonce is refused, the device sends two requests in each try and gives up as for any passing
    fault.
    """
    stale = Reply(401, problem("retry", "proof-stale").body, {"DPoP-Nonce": "another"})
    service.say(ENROLL, *[stale] * 99)
    assert refused(device.boot).code == "proof-stale"
    assert service.requests == [ENROLL] * 12


def test_a_proof_that_was_seen_is_made_anew(device: Bench, service: Service) -> None:
    """After `proof-replayed`, as when an answer was lost, the device sends a new proof."""
    service.say(ENROLL, problem("retry", "proof-replayed", 401))
    assert device.boot()["status"] == "active"


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        (problem("stop"), Action.STOP),
        (Reply(404, {"message": "Not Found"}), Action.STOP),
        (Reply(503, {"message": "Service Unavailable"}), Action.RETRY),
        (Reply(200, {"time": "2026-11-22T10:39:39Z"}), Action.RETRY),
        (Reply(200, {"nonce": 7}), Action.RETRY),
    ],
)
def test_without_a_nonce_nothing_is_signed(
    device: Bench, service: Service, reply: Reply, action: Action
) -> None:
    """Without a nonce the device signs nothing and reports the refusal of the nonce."""
    service.say(NONCE, *[reply] * 6)
    assert refused(device.boot).action is action
    assert service.requests == []


def test_a_factory_with_an_intermediate_is_believed(device: Bench, service: Service) -> None:
    """The device sends the intermediate certificate in its file, so the service can verify the chain."""
    middle = service.factory.intermediate("Middle")
    key = factories.ec_key()
    bootstrap = service.save("below", middle.issue("dev1", key), key)
    with bootstrap.certificate.open("a") as file:
        file.write(factories.pem(middle.certificate) + factories.pem(service.factory.certificate))
    proven = proof(bootstrap, "GET", service.url, b"", service.proofs.nonce)
    leaf = service.proofs.signer(proven, "GET", service.url, b"")
    assert leaf.public_key() == key.public_key()
