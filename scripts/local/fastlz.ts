// How long a transaction is after FastLZ compression: the length, not the bytes. The OP stack's fee for publishing a
// transaction on L1 is a linear function of it (Fjord specification, "FastLZ Implementation"), so it has to agree to the byte.

const HASH_SLOTS = 8192; // also the farthest distance a match may reach back
const MIN_MATCH = 3;
const MAX_RUN = 32; // literals under one control byte
const MAX_MATCH = 262; // bytes a match instruction covers beyond the first
const TAIL = 13; // no match begins in the last bytes
const TAIL_OF_MATCH = 4; // and none reaches into these

/** Bytes that FastLZ level 1 would need for `input`. */
export function fastLzLength(input: Uint8Array): number {
  const lastStart = Math.max(0, input.length - TAIL);
  const seen = new Uint32Array(HASH_SLOTS);
  let length = 0;
  let unwritten = 0; // where the literals not counted yet begin
  let at = 2;
  while (at < lastStart) {
    const word = wordAt(input, at);
    const slot = slotOf(word);
    const candidate = seen[slot]!;
    seen[slot] = at;
    if (at - candidate >= HASH_SLOTS || wordAt(input, candidate) !== word) {
      at++;
      continue;
    }
    // The reference looks at its limit after stepping over the match's first byte: a match there is not taken.
    if (at + 1 >= lastStart) break;
    const covered = commonLength(input, candidate + MIN_MATCH, at + MIN_MATCH, input.length - TAIL_OF_MATCH);
    length += literalsLength(at - unwritten) + matchLength(covered);
    at += covered;
    // Only the last two positions of a match are remembered.
    seen[slotOf(wordAt(input, at))] = at++;
    seen[slotOf(wordAt(input, at))] = at++;
    unwritten = at;
  }
  return length + literalsLength(input.length - unwritten);
}

function wordAt(input: Uint8Array, at: number): number {
  return input[at]! | (input[at + 1]! << 8) | (input[at + 2]! << 16);
}

function slotOf(word: number): number {
  return (Math.imul(word, 0x9e3779b9) >>> 19) & (HASH_SLOTS - 1);
}

/** How far the bytes from `a` and from `b` agree, plus one: the count the reference carries to where it goes on. */
function commonLength(input: Uint8Array, a: number, b: number, end: number): number {
  let equal = 0;
  while (b + equal < end && input[a + equal] === input[b + equal]) equal++;
  return equal + (b + equal < end ? 1 : 0);
}

function literalsLength(count: number): number {
  const rest = count % MAX_RUN;
  return (MAX_RUN + 1) * Math.floor(count / MAX_RUN) + (rest === 0 ? 0 : rest + 1);
}

function matchLength(covered: number): number {
  const beyond = covered - 1;
  return 3 * Math.floor(beyond / MAX_MATCH) + (beyond % MAX_MATCH >= 6 ? 3 : 2);
}
