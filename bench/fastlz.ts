// How large a transaction counts on Base's L1: since the Fjord upgrade the data fee is charged on an estimate of the compressed
// size, a straight line over the size that FastLZ (level 1) would give the signed transaction.
// https://specs.optimism.io/protocol/fjord/exec-engine.html#fjord-l1-cost-fee-changes-fastlz-estimator

const INTERCEPT = -42.5856;
const SLOPE = 0.8365;
const SMALLEST = 100;

/** Bytes that the L1 data fee is charged for. */
export function l1Bytes(transaction: Uint8Array): number {
  return Math.max(SMALLEST, INTERCEPT + SLOPE * fastLzLength(transaction));
}

const SLOTS = 1 << 13;
const FURTHEST = SLOTS - 1;
const LONGEST_LITERAL = 32;
const LONGEST_MATCH = 262;
/** No match starts in the last bytes, and none reaches into the very last. */
const TAIL = { starts: 14, reaches: 4 };

/** Length of the data in FastLZ level 1; nothing is written. */
export function fastLzLength(data: Uint8Array): number {
  /** Where three bytes with that hash were seen last; position 0 when never, as the reference has it. */
  const seen = new Int32Array(SLOTS);
  const triple = (at: number) => data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16);
  const slot = (three: number) => (Math.imul(0x9e3779b1, three) >>> 19) & (SLOTS - 1);
  let length = 0;
  let literalsFrom = 0;
  for (let at = 2; at < data.length - TAIL.starts; ) {
    const three = triple(at);
    const before = seen[slot(three)]!;
    seen[slot(three)] = at;
    if (at - before > FURTHEST || triple(before) !== three) {
      at++;
      continue;
    }
    length += literalLength(at - literalsFrom);
    const more = sameBytes(data, before + 3, at + 3, data.length - TAIL.reaches);
    length += matchLength(more);
    at += more;
    for (let i = 0; i < 2; i++, at++) seen[slot(triple(at))] = at;
    literalsFrom = at;
  }
  return length + literalLength(data.length - literalsFrom);
}

/** Each run of up to 32 has a byte before it. */
function literalLength(count: number): number {
  return count + Math.ceil(count / LONGEST_LITERAL);
}

/** `more` bytes after the first three agreed, the one that ended the comparison among them. */
function matchLength(more: number): number {
  const rest = more - 1;
  return 3 * Math.floor(rest / LONGEST_MATCH) + (rest % LONGEST_MATCH >= 6 ? 3 : 2);
}

/** How many bytes were compared until two differed (that one counts) or `limit` was reached. */
function sameBytes(data: Uint8Array, p: number, q: number, limit: number): number {
  let compared = 0;
  while (q + compared < limit) {
    const equal = data[p + compared] === data[q + compared];
    compared++;
    if (!equal) break;
  }
  return compared;
}
