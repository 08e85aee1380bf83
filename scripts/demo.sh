#!/usr/bin/env bash
# demo.sh PROGRAM OUT: makes rooms, trains a micro model for about two minutes, measures it and the shipped one, packs
# both, runs every task one at a time, and writes OUT/index.html and OUT/contact_sheet.png. OUT is replaced.
set -euo pipefail
cd "$(dirname "$0")/.."
m3vit=$1
out=$2
shipped=models/rooms_micro.safetensors
frames=8

step() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
[ -t 2 ] || step() { printf '\n== %s\n' "$*" >&2; }

case "$out" in "" | / | .) echo "demo: refusing to replace '$out'" >&2; exit 2 ;; esac
rm -rf "$out"
mkdir -p "$out"

step "Making $frames rooms that no model has seen"
"$m3vit" data make --out "$out/rooms" --frames 0 --test-frames $frames --size 128x96 --seed 20221
"$m3vit" data show "$out/rooms" --split test --frames $frames --out "$out/rooms.png" --tiles "$out/truth"

step "Training a micro model from scratch, about two minutes"
# On a busy machine SIGTERM ends it after three minutes: training then saves and leaves cleanly, and timeout says 124.
timeout --foreground 180 "$m3vit" train configs/rooms/demo.yaml --out "$out/live/run" || [ $? -eq 124 ]

models=(live)
if [ -f $shipped ]; then
  models=(shipped live)
else
  echo "demo: no $shipped here; showing the model trained just now alone" >&2
fi

tasks=(semseg depth normals edge sal human_parts)
for model in "${models[@]}"; do
  weights=$shipped
  [ "$model" = live ] && weights=$out/live/run/last.safetensors
  mkdir -p "$out/$model/routing"

  step "Measuring: $weights"
  "$m3vit" eval "$weights" --set data.test.frames=100 --out "$out/$model/eval.json" >&2

  step "Packing it and running one task at a time"
  "$m3vit" export "$weights" -o "$out/$model/model.m3v" >&2
  for task in "${tasks[@]}"; do
    "$m3vit" run "$out/$model/model.m3v" --task "$task" "$out/rooms/images" --out "$out/$model" \
      --routing "$out/$model/routing/$task.json" --json >"$out/$model/run_$task.json"
  done
done

python3 scripts/demo_page.py "$out"
step "Done. Open these:"
realpath "$out/index.html" "$out/contact_sheet.png"
