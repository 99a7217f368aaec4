"""An OpenID Connect provider for tests, on a free port of 127.0.0.1: oidc-provider-mock, and the parts that it lacks.

Prints the port and serves until standard input closes. Arguments: users, each a JSON object of claims with "sub".
"""

import base64
import hashlib
import io
import json
import os
import sys
import threading
from urllib.parse import parse_qs, urlencode, urlparse

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

import oidc_provider_mock  # noqa: E402
import werkzeug.serving  # noqa: E402
from werkzeug.wrappers import Request, Response  # noqa: E402


class Pkce:
    """Accepts a code only with the verifier of its challenge (RFC 7636), and adds the request's state to refusals."""

    def __init__(self, app):
        self.app = app
        self.challenges = {}

    def __call__(self, environ, start_response):
        request = Request(environ)
        if request.path == "/oauth2/authorize":
            return self.authorize(request, environ, start_response)
        if request.path == "/oauth2/token" and request.form.get("grant_type") == "authorization_code":
            digest = hashlib.sha256(request.form.get("code_verifier", "").encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if self.challenges.pop(request.form.get("code"), None) != challenge:
                refusal = json.dumps({"error": "invalid_grant", "error_description": "code_verifier does not fit"})
                return Response(refusal, 400, content_type="application/json")(environ, start_response)
            # The body was read; the application reads it again.
            environ["wsgi.input"].seek(0)
        return self.app(environ, start_response)

    def authorize(self, request, environ, start_response):
        if request.args.get("code_challenge_method") != "S256" or not request.args.get("code_challenge"):
            return Response("PKCE with S256 is required", 400)(environ, start_response)

        def noting(status, headers, *rest):
            headers = dict(headers)
            query = parse_qs(urlparse(headers.get("Location", "")).query)
            for code in query.get("code", []):
                self.challenges[code] = request.args["code_challenge"]
            if "error" in query and "state" not in query:
                headers["Location"] += "&" + urlencode({"state": request.args.get("state", "")})
            return start_response(status, list(headers.items()), *rest)

        return self.app(environ, noting)


class Buffered:
    """Reads bodies whole, so that they can be read twice."""

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        return self.app(environ, start_response)


def main():
    users = []
    for text in sys.argv[1:]:
        claims = json.loads(text)
        users.append(oidc_provider_mock.User(sub=claims.pop("sub"), claims=claims))
    app = oidc_provider_mock.app(require_nonce=True, user_claims=users)
    wsgi = getattr(app, "wsgi_app", app)
    server = werkzeug.serving.make_server("127.0.0.1", 0, Buffered(Pkce(wsgi)), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
