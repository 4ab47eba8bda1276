#!/usr/bin/env bash
# Build the fuzz target of the core: build.sh DIRECTORY SOURCE COMPILER FLAG...
# SOURCE is fuzzer, for libFuzzer's main(), or replay.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
native=$here/../../../triobatch/_native
out=$1 kind=$2
shift 2
renamed=()
for call in send sendmsg sendto recv recvmsg recvmmsg syscall fcntl splice \
    sendfile preadv2; do
    renamed+=("-D$call=fake_$call")
done
flags=(-g -std=gnu11 -D_GNU_SOURCE -I"$native" -I"$here" -Wall -Wextra)
mkdir -p "$out"
cd "$out"
for source in stream groups broadcast datagrams receive_datagrams splice; do
    "$@" "${flags[@]}" "${renamed[@]}" -c "$native/$source.c" -o "core_$source.o"
done
sources=(kernel calls file_calls streams groups sending segments receiving
    splice target)
[ "$kind" = fuzzer ] || sources+=(replay)
for source in "${sources[@]}"; do
    "$@" "${flags[@]}" -c "$here/$source.c" -o "$source.o"
done
link=()
[ "$kind" = replay ] || link=(-fsanitize=fuzzer)
"$@" "${link[@]}" core_*.o "${sources[@]/%/.o}" -o "$kind" -lpthread
