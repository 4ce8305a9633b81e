#!/bin/sh
# Answers git's question for a login, but only when it is asked for the configured host: a server
# that redirects elsewhere gets nothing.
case "$1" in *" '"*"://"*/*) exit 1 ;; esac
case "$1" in
"Username for '$DATAOPS_ASKPASS_SCHEME://$DATAOPS_ASKPASS_HOST': ") printf '%s\n' "$DATAOPS_ASKPASS_USERNAME" ;;
"Password for '$DATAOPS_ASKPASS_SCHEME://"*"@$DATAOPS_ASKPASS_HOST': ") printf '%s\n' "$DATAOPS_ASKPASS_PASSWORD" ;;
*) exit 1 ;;
esac
