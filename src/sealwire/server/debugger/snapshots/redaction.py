"""Names whose values never leave a program, as tracers have them built in.

A probe that reads one prints ``{redacted}``. The list is that of ddtrace 4.16; services add to it and take
from it in their own environment, which nobody here can see, so this is what holds where nothing was set.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

SHOWN: Final = "{redacted}"
ADDS: Final = "DD_DYNAMIC_INSTRUMENTATION_REDACTED_IDENTIFIERS"
TAKES: Final = "DD_DYNAMIC_INSTRUMENTATION_REDACTION_EXCLUDED_IDENTIFIERS"
TYPES: Final = "DD_DYNAMIC_INSTRUMENTATION_REDACTED_TYPES"

# fmt: off
NAMES: Final = frozenset(
    {
        "2fa", "accesstoken", "aiohttpsession", "apikey", "apisecret", "apisignature", "appkey",
        "applicationkey", "auth", "authorization", "authtoken", "ccnumber", "certificatepin", "cipher",
        "clientid", "clientsecret", "connectionstring", "connectsid", "cookie", "credentials",
        "creditcard", "csrf", "csrftoken", "cvv", "databaseurl", "dburl", "encryptionkey",
        "encryptionkeyid", "geolocation", "gpgkey", "ipaddress", "jti", "jwt", "licensekey", "masterkey",
        "mysqlpwd", "nonce", "oauth", "oauthtoken", "otp", "passhash", "passwd", "password", "passwordb",
        "pemfile", "pgpkey", "phpsessid", "pin", "pincode", "pkcs8", "privatekey", "publickey", "pwd",
        "recaptchakey", "refreshtoken", "routingnumber", "salt", "secret", "secretkey", "secrettoken",
        "securityanswer", "securitycode", "securityquestion", "serviceaccountcredentials", "session",
        "sessionid", "sessionkey", "setcookie", "signature", "signaturekey", "sshkey", "ssn", "symfony",
        "token", "transactionid", "twiliotoken", "usersession", "voterid", "xapikey", "xauthtoken",
        "xcsrftoken", "xforwardedfor", "xrealip", "xsrf", "xsrftoken",
    }
)
# fmt: on


def normal(name: str) -> str:
    """How names are compared: without case and the signs that separate words."""
    return "".join(each for each in name.strip().lower() if each not in "_-$@")


def is_redacted(name: str, *, added: Iterable[str] = (), taken: Iterable[str] = ()) -> bool:
    """Whether a tracer redacts a variable, field or key of this name."""
    plain = normal(name)
    if plain in {normal(each) for each in taken}:
        return False
    return plain in NAMES or plain in {normal(each) for each in added}
