#!/usr/bin/env bash
# The whole life of a chat model, from text files to a talk: tokenizer, pretraining, questions and answers, instructions,
# preferences, chat. About twenty minutes on two CPU cores. After an interruption the same command goes on from there.
#
#   examples/whole_life.sh [FOLDER [smoke]]
#
# Everything is written to FOLDER (default: whole-life); with "smoke" by the first steps of every stage, in three minutes.
# HORNBOOK_DATA names the folder of texts (default: shared/data beside the checkout).
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-whole-life}
form=${2:+-$2}
export HORNBOOK_DATA=${HORNBOOK_DATA:-$checkout/../shared/data}
HORNBOOK_DATA=$(cd "$HORNBOOK_DATA" && pwd)
mkdir -p "$folder/logs"
cd "$folder"

say() { # TEXT: a line with the time since the start
    printf '%2d:%02d  %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$1"
}

recipe() { # STAGE: its configuration
    printf '%s/configs/story-%s%s.toml' "$checkout" "$1" "$form"
}

value() { # NAME FILE: the number in the last JSON line that has it, "?" if none has
    local found
    found=$(sed -n "s|.*[{ ]\"$1\": *\([-0-9.e+]\{1,\}\).*|\1|p" "$2" | tail -n 1) # names hold slashes
    if [ -n "$found" ]; then printf '%.4g' "$found"; else printf '?'; fi
}

train() { # STAGE: prepare its data and train, or find both done
    hornbook data prepare "$(recipe "$1")" >>"logs/$1.jsonl"
    hornbook train "$(recipe "$1")" --resume >>"logs/$1.jsonl"
}

say "tokenizer: 4,096 tokens of fairy tales"
[ -d tokenizers/story ] || hornbook tokenizer train "$(recipe base)" >>logs/tokenizer.jsonl

say "base: the tales themselves"
train base
say "      validation loss $(value val/loss logs/base.jsonl)"

say "sft: questions about tales, and their answers"
train sft
hornbook eval answers "runs/story-sft$form" --base "runs/story-base$form" --split test >logs/answers.jsonl
say "      held-out answers, nats a token: base $(value base_nats_per_token logs/answers.jsonl), tuned $(value nats_per_token logs/answers.jsonl), lower by $(value lower_than_base_percent logs/answers.jsonl) %"

say "instruct: short instructions"
train instruct

say "dpo: of two answers the politer one"
train dpo
hornbook eval preference "runs/story-dpo$form" --split valid --plot margins.svg >logs/preference.jsonl
say "      held-out pairs with a positive margin: $(value positive logs/preference.jsonl) of $(value pairs logs/preference.jsonl), by token as they were trained (margins.svg); of sums $(value accuracy logs/preference.jsonl)"

say "chat"
printf '%s\n' \
    "Once upon a time there was a king who had three daughters. Who had three daughters?" \
    "Rewrite the sentence: He go to the park every day." \
    "Name a synonym for happy." |
    hornbook chat "runs/story-dpo$form" --seed 1 | tee -a logs/chat.jsonl

hornbook report "runs/story-base$form" "runs/story-sft$form" "runs/story-instruct$form" "runs/story-dpo$form" --out report.html >>logs/report.jsonl
say "done: $PWD/report.html shows the curves; hornbook chat runs/story-dpo$form goes on with the talk"
