# Two images: `app`, of which web, live, workers, beat and migrate are different commands, and `proxy`.
# Built by `docker compose build`; docker-compose.yml says what runs in them.

# --- what pip installs, and the static files in one place ---------------------------------------
FROM python:3.11-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

# Before the sources: as long as the requirements stay, so does this layer.
COPY requirements.txt requirements-extras.txt /tmp/
# Wheels only: nothing is compiled here, so no compiler is needed.
RUN pip install --only-binary :all: -r /tmp/requirements.txt -r /tmp/requirements-extras.txt

WORKDIR /srv/odata
COPY . .
# Settings ask for a key. This one signs nothing, and the image keeps neither it nor the home.
RUN SECRET_KEY=only-for-the-build ODATA_HOME=/tmp/home python manage.py collectstatic --noinput \
    && python -m compileall -q .

# --- the application ----------------------------------------------------------------------------
FROM python:3.11-slim-bookworm AS app

# The folder belongs to the user, and so does a named volume that is first mounted there.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/odata --shell /usr/sbin/nologin odata \
    && install -d -o odata -g odata -m 0700 /var/lib/odata
# Root's, so that what serves requests can't change its own code.
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/odata /srv/odata

WORKDIR /srv/odata
# HOST: of the container's own network, into which nothing leads but the ports that it is run with.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ODATA_HOME=/var/lib/odata HOST=0.0.0.0
USER odata
EXPOSE 8000 8001
CMD ["python", "manage.py", "up"]

# --- the proxy that joins web and live under one origin -----------------------------------------
FROM caddy:2.10-alpine AS proxy

# Certificates are kept here. The image's own /data is root's, and we don't run as root.
RUN install -d -o 1000 -g 1000 -m 0700 /var/lib/caddy
ENV XDG_DATA_HOME=/var/lib/caddy XDG_CONFIG_HOME=/var/lib/caddy
COPY deploy/Caddyfile /etc/caddy/Caddyfile
USER 1000:1000
