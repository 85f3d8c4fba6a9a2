import hashlib, http.client, os, ssl, sys, time, urllib.error, urllib.request
url, kind, want, mode, path = sys.argv[1:]
trust = ssl.create_default_context()
if os.path.exists("/var/lib/nodekiln/fetch-ca.pem"):
    trust.load_verify_locations("/var/lib/nodekiln/fetch-ca.pem")

def done(name):
    try:
        with open(name, "rb") as file:
            digest = hashlib.new(kind)
            for block in iter(lambda: file.read(65536), b""):
                digest.update(block)
            return digest.hexdigest() == want
    except FileNotFoundError:
        return False

def fetch(part):
    pause = 0.2
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30, context=trust) as served:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
                with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
                    for block in iter(lambda: served.read(65536), b""):
                        file.write(block)
                    file.flush()
                    os.fsync(file.fileno())
            if served.length:
                raise http.client.IncompleteRead(b"")
            return
        except urllib.error.HTTPError as error:
            # As Ignition: the server's fault may pass, a refusal does not.
            if error.code < 500:
                sys.exit("nodekiln: cannot fetch %s: HTTP status %d" % (path, error.code))
            why = error
        except (OSError, http.client.HTTPException) as error:
            why = error
        print("nodekiln: fetching %s again: %s" % (path, why), file=sys.stderr, flush=True)
        time.sleep(pause)
        pause = min(pause * 2, 5)

if not done(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = path + ".nodekiln"
    fetch(part)
    if not done(part):
        os.unlink(part)
        sys.exit("nodekiln: what was fetched for %s does not have the expected %s digest" % (path, kind))
    os.chmod(part, int(mode, 8))
    os.chown(part, 0, 0)
    os.rename(part, path)
os.chmod(path, int(mode, 8))
