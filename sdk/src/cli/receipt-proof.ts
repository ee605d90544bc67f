// Whether a receipt is under the root of a claim: by the proof alone, and by the chain.
import { isAddressEqual, parseEventLogs, type Address } from "viem";
import { bazaarRegistryAbi } from "../abi/bazaar-registry.ts";
import { sessionChannelsAbi } from "../abi/session-channels.ts";
import { deployments } from "../addresses.ts";
import { LOCAL_BAZAAR_REGISTRY } from "../constants.ts";
import { decodePackedResults } from "../packed-claim.ts";
import { fromWireReceipt, receiptHash } from "../receipt.ts";
import { isReceiptProven } from "../receipt-tree.ts";
import { reading, type Chain } from "./chain.ts";
import type { Check, ReceiptFile } from "./receipt-check.ts";

/** Nothing for a file without a proof. */
export async function checkProof({ receipt, proof: given }: ReceiptFile, chain: Chain | undefined): Promise<Check[]> {
  if (given === undefined) return [];
  const hash = receiptHash(receipt.domain, fromWireReceipt(receipt.payload));
  const { root, proof } = given;
  const fits = isReceiptProven(root, hash, proof);
  const offline: Check = { name: "proof", result: fits ? "ok" : "fail", detail: fits ? `leads to ${root}` : `does not lead to ${root}` };
  if (chain === undefined) return [offline, { name: "claim", result: "unknown", detail: "--rpc compares the root with the claim on chain" }];
  return [offline, await claimCheck(receipt, given, chain), await contractCheck(chain, [hash, root, proof])];
}

async function claimCheck({ payload, signer }: ReceiptFile["receipt"], { root, transaction }: NonNullable<ReceiptFile["proof"]>, { client, contract }: Chain): Promise<Check> {
  const fail = (detail: string): Check => ({ name: "claim", result: "fail", detail });
  const mined = await reading(() => client.getTransactionReceipt({ hash: transaction }).catch((error: Error) => (error.name === "TransactionReceiptNotFoundError" ? undefined : Promise.reject(error))));
  if (mined === undefined) return { name: "claim", result: "unknown", detail: `${transaction} is not mined` };
  const groups = parseEventLogs({ abi: sessionChannelsAbi, eventName: "PackedClaimed", logs: mined.logs }).filter(({ address, args }) => isAddressEqual(address, contract) && args.receiptsRoot === root);
  const group = groups.find(({ args }) => isAddressEqual(args.receiverAuthorizer, signer) && isAddressEqual(args.receiver, payload.receiver) && isAddressEqual(args.token, payload.token));
  if (group === undefined) return fail(groups.length === 0 ? "the transaction carries no such root" : "its root was claimed under another receiver, token or key");
  // The root may also name receipts of a row that the chain skipped; so the row says what was claimed.
  const row = decodePackedResults(group.args.results).find(({ channelId }) => channelId === payload.channelId);
  if (row === undefined) return fail("the claim has no row of this channel");
  if (row.totalClaimed < BigInt(payload.cumulative)) return fail(`${row.totalClaimed} of the channel were claimed, this receipt's charge reaches ${payload.cumulative}`);
  return { name: "claim", result: "ok", detail: `root and charge are in ${transaction}` };
}

/** The published registry, or that of the local world. */
async function contractCheck({ client, info }: Chain, args: readonly [`0x${string}`, `0x${string}`, readonly `0x${string}`[]]): Promise<Check> {
  const candidates: Address[] = [deployments[info.chainId as keyof typeof deployments].contracts.BazaarRegistry, LOCAL_BAZAAR_REGISTRY];
  for (const address of candidates) {
    if (((await reading(() => client.getCode({ address }))) ?? "0x") === "0x") continue;
    const proven = await reading(() => client.readContract({ address, abi: bazaarRegistryAbi, functionName: "isReceiptProven", args }));
    return { name: "contract", result: proven ? "ok" : "fail", detail: `BazaarRegistry ${address} ${proven ? "takes" : "refuses"} the proof` };
  }
  return { name: "contract", result: "unknown", detail: "no BazaarRegistry stands on this chain" };
}
