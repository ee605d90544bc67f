// Two small EVM programs, run by eth_call as creation code and never deployed, so that no contract of ours is needed on the chain. They
// answer for many plain transfers at once what would otherwise be four calls each, and two things Multicall3 cannot do: whether the
// payer has code, and a limit on the gas of each call.
import type { Address, Hex } from "viem";
import { NONCE_AT, PAYER_AT, PLAIN_CALL_BYTES } from "./calldata.ts";

const OP = {
  ADD: "01", MUL: "02", SUB: "03", LT: "10", ISZERO: "15", OR: "17", SHL: "1b", CODESIZE: "38", CODECOPY: "39", EXTCODESIZE: "3b", RETURNDATASIZE: "3d", RETURNDATACOPY: "3e",
  POP: "50", MLOAD: "51", MSTORE: "52", JUMP: "56", JUMPI: "57", GAS: "5a", JUMPDEST: "5b", DUP2: "81", DUP3: "82", DUP4: "83", SWAP1: "90", CREATE: "f0", CALL: "f1", RETURN: "f3", STATICCALL: "fa", REVERT: "fd",
} as const;

/** Three bytes for every number, so that a program's length does not depend on them. */
const push = (value: number): string => `62${value.toString(16).padStart(6, "0")}`;
const pushAddress = (address: Address): string => `73${address.slice(2).toLowerCase()}`;
const pushSelector = (selector: string): string => `63${selector}${push(224)}${OP.SHL}`;
const lengthOf = (...code: string[]): number => code.join("").length / 2;

/** Memory: room for the token's questions, the transfer's calldata, and behind it the answers. */
const ASK = 0x100;
const ITEM = 0x200;
const outAfter = (callBytes: number): number => ITEM + Math.ceil(callBytes / 32) * 32 + 0x200;

const payerHasNoCode = [push(ITEM + PAYER_AT), OP.MLOAD, OP.EXTCODESIZE, OP.ISZERO].join("");

/**
 * Leaves on the stack what became of the transfer at ITEM: 1 refused or 2 taken, whether the payer has code (1 << 16), gas (<< 32).
 * The gas includes nothing of the program's own. Unless wallets are tried too, their code is not run: their transfer gets no gas.
 */
const tryTransfer = ({ token, mostGas, callBytes, wallets }: Trial): string =>
  [
    OP.GAS,
    push(0), push(0), push(callBytes), push(ITEM), push(0), pushAddress(token), push(mostGas), ...(wallets ? [] : [payerHasNoCode, OP.MUL]), OP.CALL,
    OP.SWAP1, OP.GAS, OP.SWAP1, OP.SUB, push(32), OP.SHL, OP.OR, push(1), OP.ADD,
    payerHasNoCode, OP.ISZERO, push(16), OP.SHL, OP.OR,
  ].join("");

/** Calls a view of the token with the payer, and the nonce where asked; the answer goes to memory at `out`. */
const ask = (token: Address, selector: string, withNonce: boolean, out: number): string =>
  [
    pushSelector(selector), push(ASK), OP.MSTORE,
    push(ITEM + PAYER_AT), OP.MLOAD, push(ASK + 4), OP.MSTORE,
    ...(withNonce ? [push(ITEM + NONCE_AT), OP.MLOAD, push(ASK + 36), OP.MSTORE] : []),
    push(32), push(out), push(withNonce ? 68 : 36), push(ASK), pushAddress(token), OP.GAS, OP.STATICCALL, OP.POP,
  ].join("");

const BALANCE_OF = "70a08231";
const AUTHORIZATION_STATE = "e94a0102";

/** `callBytes` of calldata each; `wallets`: payers with code are tried as well. */
type Trial = { token: Address; mostGas: number; callBytes: number; wallets: boolean };

export type Program = { code: Hex; /** Bytes that it answers for each item. */ answerBytes: number };

/** Gas that one more item may need; with less the program ends, and what it did not reach is asked again. */
const roomFor = ({ mostGas, callBytes }: Trial): number => Math.ceil((mostGas + 150_000 + 20 * callBytes) * 1.1);

/** Goes over the items behind the program, from code offset `start`. `handle` finds [answer's place, item's offset] on the stack and leaves it so. */
function overItems(before: string, start: number, trial: Trial, handle: string, answerBytes: number): string {
  const out = outAfter(trial.callBytes);
  const head = [before, push(out), push(start)].join("");
  const body = (done: number): string =>
    [
      OP.JUMPDEST,
      OP.CODESIZE, OP.DUP2, OP.LT, OP.ISZERO, push(done), OP.JUMPI,
      push(roomFor(trial)), OP.GAS, OP.LT, push(done), OP.JUMPI,
      handle,
      push(trial.callBytes), OP.ADD, OP.SWAP1, push(answerBytes), OP.ADD, OP.SWAP1,
      push(lengthOf(head)), OP.JUMP,
    ].join("");
  return [head, body(lengthOf(head, body(0))), OP.JUMPDEST, OP.POP, push(out), OP.SWAP1, OP.SUB, push(out), OP.RETURN].join("");
}

const PROBE_BYTES = 64;

/**
 * Each plain transfer as if it were alone: tried inside a creation that reverts, so that none sees another. Two words an item: the payer's
 * balance, then the outcome with "used" (1 << 8) in it.
 */
export function probeProgram(token: Address, mostGas: number): Program {
  const trial: Trial = { token, mostGas, callBytes: PLAIN_CALL_BYTES, wallets: false };
  const inside = (start: number): string =>
    [
      push(PLAIN_CALL_BYTES), push(start), push(ITEM), OP.CODECOPY,
      ask(token, BALANCE_OF, false, 0),
      ask(token, AUTHORIZATION_STATE, true, 32),
      push(32), OP.MLOAD, OP.ISZERO, OP.ISZERO, push(8), OP.SHL,
      tryTransfer(trial), OP.OR, push(32), OP.MSTORE,
      push(PROBE_BYTES), push(0), OP.REVERT,
    ].join("");
  const inner = inside(lengthOf(inside(0)));
  const innerBytes = lengthOf(inner);
  if (innerBytes > ITEM) throw new Error("invariant: the inner program and one item end before the answers");
  const handle = [
    push(PLAIN_CALL_BYTES), OP.DUP2, push(innerBytes), OP.CODECOPY,
    push(innerBytes + PLAIN_CALL_BYTES), push(0), push(0), OP.CREATE, OP.POP,
    OP.RETURNDATASIZE, push(0), OP.DUP4, OP.RETURNDATACOPY,
  ].join("");
  const outer = (innerAt: number): string => overItems([push(innerBytes), push(innerAt), push(0), OP.CODECOPY].join(""), innerAt + innerBytes, trial, handle, PROBE_BYTES);
  return { code: `0x${outer(lengthOf(outer(0)))}${inner}`, answerBytes: PROBE_BYTES };
}

/** Transfers one after the other, as a batch would make them. One word an item: the outcome. */
export function rehearsalProgram(trial: Trial): Program {
  const handle = [push(trial.callBytes), OP.DUP2, push(ITEM), OP.CODECOPY, tryTransfer(trial), OP.DUP3, OP.MSTORE].join("");
  const code = (start: number): string => overItems("", start, trial, handle, 32);
  return { code: `0x${code(lengthOf(code(0)))}`, answerBytes: 32 };
}
