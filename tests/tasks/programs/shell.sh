#!/bin/bash
# A shell script that reports by its output; it reads a toggle and the seed from its arguments.
for epoch in 1 2; do
  echo "epoch $epoch: val_loss=$(($1 * 2 + $2 + 2 - epoch))"
done
echo "done. test_loss=$(($1 * 2 + $2))"
