// The channel config of a request, as the ledger knows it: addresses with their checksum, the rest in lower case. A channel sends
// the same text with every request, so the last ones are kept: one frozen object a channel, by which its id is remembered too.
import type { Hex } from "viem";
import type { ChannelConfig } from "../../../sdk/src/typed-data.ts";
import { toAddress } from "./address.ts";
import { createBoundedCache } from "./bounded-cache.ts";

/** Checked by its schema. */
export type WireConfig = {
  payer: string;
  payerAuthorizer: string;
  receiver: string;
  receiverAuthorizer: string;
  token: string;
  withdrawDelay: number;
  salt: string;
};

/** About a kilobyte each. */
const REMEMBERED = 32_768;
const remembered = createBoundedCache<string, ChannelConfig>(REMEMBERED);

export function toConfig(wire: WireConfig): ChannelConfig {
  // No separators: every part has its fixed length, and after the number comes the x of an 0x.
  const key = `${wire.withdrawDelay}${wire.payer}${wire.payerAuthorizer}${wire.receiver}${wire.receiverAuthorizer}${wire.token}${wire.salt}`;
  const known = remembered.get(key);
  if (known !== undefined) return known;
  const config = Object.freeze({
    payer: toAddress(wire.payer),
    payerAuthorizer: toAddress(wire.payerAuthorizer),
    receiver: toAddress(wire.receiver),
    receiverAuthorizer: toAddress(wire.receiverAuthorizer),
    token: toAddress(wire.token),
    withdrawDelay: wire.withdrawDelay,
    salt: wire.salt.toLowerCase() as Hex,
  });
  remembered.set(key, config);
  return config;
}
