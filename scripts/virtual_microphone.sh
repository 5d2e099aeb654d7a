#!/usr/bin/env bash
# A microphone without hardware: PulseAudio with a null sink, heard through ALSA and PortAudio.
#
#   eval "$(scripts/virtual_microphone.sh start DIR)"   start it and set the environment for it
#   paplay --device=cable speech.wav                    what is played is what the microphone hears
#   scripts/virtual_microphone.sh unplug|plug DIR       take the microphone away, bring it back
#   scripts/virtual_microphone.sh stop DIR
#
# Everything lies in DIR; no file of the user is touched, and root in a container will do.
# Debian: apt-get install pulseaudio pulseaudio-utils libportaudio2 libasound2-plugins
set -eu

action=${1:-}
dir=${2:-}
if [ -z "$action" ] || [ -z "$dir" ]; then
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
socket=$dir/native
export PULSE_SERVER=unix:$socket

plug() {
    pactl load-module module-null-sink sink_name=cable rate=48000 channels=1 format=s16le \
        sink_properties=device.description=Cable >"$dir/module"
}

case $action in
start)
    for program in pulseaudio pactl; do
        command -v $program >/dev/null || { echo "$program is not installed" >&2; exit 1; }
    done
    chmod 700 "$dir"
    mkdir -p "$dir/state" "$dir/config"
    echo "load-module module-native-protocol-unix socket=$socket auth-anonymous=1" >"$dir/pulse.pa"
    # PortAudio wants a default beside any other device.
    for name in default virtual_microphone; do
        echo "pcm.$name { type pulse server \"unix:$socket\" device cable.monitor" \
            "hint.description \"Virtual microphone\" }"
    done >"$dir/asound.conf"
    env -u PULSE_SERVER HOME="$dir" XDG_RUNTIME_DIR="$dir" PULSE_RUNTIME_PATH="$dir/run" \
        PULSE_STATE_PATH="$dir/state" PULSE_CONFIG_PATH="$dir/config" \
        pulseaudio -n -F "$dir/pulse.pa" --daemonize=no --exit-idle-time=-1 --realtime=no \
        --high-priority=no --log-target=file:"$dir/log" </dev/null >/dev/null 2>&1 &
    echo $! >"$dir/pid"
    for _ in $(seq 100); do
        pactl info >/dev/null 2>&1 && break
        sleep 0.1
    done
    plug
    echo "export PULSE_SERVER=$PULSE_SERVER ALSA_CONFIG_PATH=$dir/asound.conf"
    ;;
plug) plug ;;
unplug) pactl unload-module "$(cat "$dir/module")" ;;
stop) [ ! -f "$dir/pid" ] || kill "$(cat "$dir/pid")" 2>/dev/null || true ;;
*)
    echo "unknown action: $action" >&2
    exit 2
    ;;
esac
