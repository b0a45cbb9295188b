#!/bin/sh
# find_python.sh VERSION  -- print the path of a Python of this version that can make virtual environments; else fail
for candidate in "$(command -v "python$1" || true)" \
    $(ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python 2>/dev/null || true); do
    if [ -n "$candidate" ] && "$candidate" -c 'import ensurepip, sqlite3' 2>/dev/null; then
        echo "$candidate"
        exit 0
    fi
done
exit 1
