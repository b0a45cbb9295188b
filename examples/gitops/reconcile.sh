#!/bin/bash
# Bring this account's endpoints to what the main branch says, and commit what apply found out.
# For cron: silent unless something is wrong. Usage: reconcile.sh DIRECTORY_OF_THE_CLONE [PROGRAM]
set -eu
cd "$1"
program=${2:-chiltepin-reconciler}

git pull --quiet --rebase
code=0
report=$("$program" apply --yes 2>&1) || code=$?

case $code in
  0) ;;
  5) ;;   # a restart waits until its tasks are done: the next run looks again
  75) ;;  # another apply is at work
  *) echo "$report" ;;
esac

# UUIDs of endpoints that apply registered belong to the repository. The pools file follows from them.
if [ -e chiltepin.lock.yaml ]; then
  git add chiltepin.lock.yaml
  git diff --cached --quiet || git commit --quiet --message "chiltepin: lock after apply"
  git push --quiet
fi

case $code in 5 | 75) exit 0 ;; *) exit "$code" ;; esac
