// Who is who in the local world: keys of Hardhat's published mnemonic, the same in every start. Worthless elsewhere.
import { bytesToHex, type Hex } from "viem";
import { mnemonicToAccount, type HDAccount } from "viem/accounts";
import { LOCAL_MNEMONIC } from "./chain.ts";

export function localAccount(index: number): HDAccount {
  return mnemonicToAccount(LOCAL_MNEMONIC, { addressIndex: index });
}

export function localKey(index: number): Hex {
  return bytesToHex(localAccount(index).getHdKey().privateKey!);
}

/** Accounts 0 to 9 hold ether and test USDC. The first eight pay by channel with the stock client, the next is a person whose agents pay with our SDK. */
export const BATCH_INDEXES = [0, 1, 2, 3, 4, 5, 6, 7];
export const SDK_INDEX = 8;
/** Pay each call on its own (x402 `exact`); they hold test USDC and no ether: the relayer pays the gas. */
export const EXACT_INDEXES = [13, 14, 15, 16];
/** The agents that SDK_INDEX, a person, lets spend: keys to ask with, without ether and without tokens. */
export const AGENT_INDEX = 17;
export const SUB_AGENT_INDEX = 18;
/** Who hires, who is hired, and who judges what they do not agree on. */
export const EMPLOYER_INDEX = 19;
export const WORKER_INDEX = 20;
export const VERIFIER_INDEXES = [21, 22, 23];
/** Who list the same kind of work in the bazaar, and who bargains with them. */
export const SELLER_INDEXES = [24, 25];
export const SHOPPER_INDEX = 26;
/** Left alone, for whoever wants to pay something. */
export const NEWCOMER_INDEX = 9;
/** Outside of the ten, so that nobody who uses those by hand disturbs a nonce or a key of the relayer. */
export const SUBMITTER_INDEX = 10;
export const AUTHORIZER_INDEX = 11;
export const RECEIVER_INDEX = 12;
