// Gas of BazaarRegistry: whole-transaction receipts on an in-process chain. Every figure is deterministic, so
// bench/results/bazaar-gas.json is compared for equality; `-- bazaar-gas --update` rewrites it and the table in docs/BAZAAR.md.
//
// The metadata's address has 38 characters. "Identity" is an ERC-8004 registry without a proxy; the deployed ones stand behind
// one, which adds about 5,000 to each of its answers.
import { readFileSync, writeFileSync } from "node:fs";
import hre from "hardhat";
import type { Contract, ContractTransactionReceipt } from "ethers";
import { numberToHex, type Hex } from "viem";
import { listServiceDigest } from "../sdk/src/bazaar-messages.ts";
import { serviceIdOf, termsRefOf, type ServiceKey } from "../sdk/src/bazaar.ts";
import {
  AGENT_OWNER, BY_SENDER, bazaarAs, createBazaarWorld, FACILITATOR_BOND_ATOMIC, identityKey, opinionOf, PAY_TO, PROVIDER, providerKey, ratingArgs, signedRatingArgs, termsOf, type BazaarWorld,
} from "../test/support/bazaar-world.ts";
import { actor, channelOf, channelsAs, claimRow, openChannel, send, signDigest, signerFor, VALID_BEFORE_S, type Actor, type Channel } from "../test/support/session-world.ts";
import { columns, commit, machine, progress, type Report } from "./report.ts";

const SNAPSHOT = new URL("./results/bazaar-gas.json", import.meta.url);
const PAGE = new URL("../docs/BAZAAR.md", import.meta.url);
const BLOCK = /<!-- bench:bazaar-gas -->\n[\s\S]*?<!-- \/bench:bazaar-gas -->/;

export type BazaarGas = Record<string, number>;

const TARGETS: Record<string, number> = {
  "list, by a key": 66_000,
  "list, by an identity": 66_000,
  "update, by a key": 48_000,
  "update, by an identity": 48_000,
  "rate, the channel again": 42_000,
  "rate, one of ten in a call": 42_000,
};

/** Measures everything; some seconds. */
export async function measureBazaarGas(): Promise<BazaarGas> {
  await hre.tasks.getTask("build").run({ quiet: true, noTests: true });
  progress("gas: bazaar");
  const world = await createBazaarWorld();
  try {
    return { ...(await measureServices(world)), ...(await measureRatings(world)), ...(await measureBonds(world)) };
  } finally {
    await world.connection.close();
  }
}

const gasOf = async (receipt: Promise<ContractTransactionReceipt>) => Number((await receipt).gasUsed);

async function measureServices(world: BazaarWorld): Promise<BazaarGas> {
  const gas: BazaarGas = {};
  for (const [who, owner, key] of [["a key", PROVIDER, providerKey(1n)], ["an identity", AGENT_OWNER, identityKey(1n)]] as [string, Actor, ServiceKey][]) {
    const asOwner = await bazaarAs(world, owner);
    gas[`list, by ${who}`] = await gasOf(send(asOwner, "list", key, termsOf(world), true, BY_SENDER));
    gas[`update, by ${who}`] = await gasOf(send(asOwner, "update", key, termsRefOf(termsOf(world)), termsOf(world, { price: 2_000n }), BY_SENDER));
    await send(asOwner, "update", key, termsRefOf(termsOf(world, { price: 2_000n })), termsOf(world), BY_SENDER);
    gas[`pause, by ${who}`] = await gasOf(send(asOwner, "setStatus", key, 4, BY_SENDER));
    gas[`publish, by ${who}`] = await gasOf(send(asOwner, "setStatus", key, 3, BY_SENDER));
  }
  const key = providerKey(2n);
  const message = { serviceId: serviceIdOf(world.bazaarDomain, key), terms: termsOf(world), publish: true, deadline: VALID_BEFORE_S };
  const signature = await signDigest(PROVIDER.key, listServiceDigest(world.bazaarDomain, message));
  gas["list, by signature"] = await gasOf(send(world.bazaar, "list", key, message.terms, true, { deadline: VALID_BEFORE_S, signature }));
  return gas;
}

/** A channel of `payer` to the provider, of which `claimed` was claimed. */
async function paidChannel(world: BazaarWorld, payer: Actor, claimed: bigint): Promise<Channel> {
  const channel = channelOf(world, payer, PAY_TO.address);
  await openChannel(world, channel);
  await send(await channelsAs(world, channel.config.receiverAuthorizer), "claim", [await claimRow(world, channel, claimed)]);
  return channel;
}

async function measureRatings(world: BazaarWorld): Promise<BazaarGas> {
  const gas: BazaarGas = {};
  const payer = actor("payer");
  const asPayer = await bazaarAs(world, payer);
  const channel = await paidChannel(world, payer, 9_000n);
  const rate = (claimed: bigint, key = providerKey(1n), opinion = opinionOf(90)) => gasOf(send(asPayer, "rateChannel", ...ratingArgs(world, key, channel, claimed, opinion)));
  gas["rate, the service's first"] = await rate(1_000n);
  gas["rate, the channel again"] = await rate(2_000n);
  const other = await paidChannel(world, actor("other payer"), 1_000n);
  gas["rate, a channel's first"] = await gasOf(send(await bazaarAs(world, actor("other payer")), "rateChannel", ...ratingArgs(world, providerKey(1n), other, 1_000n)));
  const signed = (claimed: bigint) => signedRatingArgs(world, payer, providerKey(1n), channel, claimed);
  gas["rate, by signature"] = await gasOf(send(world.bazaar, "rateChannel", ...(await signed(3_000n))));
  const calls: Hex[] = [];
  for (let n = 1n; n <= 10n; n++) calls.push(world.bazaar.interface.encodeFunctionData("rateChannel", await signed(3_000n + n * 100n)) as Hex);
  gas["rate, one of ten in a call"] = Math.round((await gasOf(send(world.bazaar, "multicall", calls))) / 10);
  await rate(5_000n, identityKey(1n));
  gas["rate, a service of an identity"] = await rate(6_000n, identityKey(1n));
  await rate(7_000n, identityKey(1n), opinionOf(90, { forward: true }));
  gas["rate, forwarded to ERC-8004"] = await rate(8_000n, identityKey(1n), opinionOf(90, { forward: true }));
  return gas;
}

async function measureBonds(world: BazaarWorld): Promise<BazaarGas> {
  const relayer = actor("facilitator");
  await send(world.usdc, "mint", relayer.address, 10n * FACILITATOR_BOND_ATOMIC);
  await send(world.usdc.connect(await signerFor(world, relayer.address)) as Contract, "approve", world.bazaarAddress, 2n ** 256n - 1n);
  const asRelayer = await bazaarAs(world, relayer);
  const serviceId = serviceIdOf(world.bazaarDomain, providerKey(1n));
  return {
    "register a facilitator": await gasOf(send(asRelayer, "registerFacilitator", "https://relayer.example", numberToHex(1n, { size: 32 }), FACILITATOR_BOND_ATOMIC)),
    "bond a service": await gasOf(send(asRelayer, "bondService", serviceId, 1_000_000n)),
    "ask for a bond": await gasOf(send(await bazaarAs(world, PROVIDER), "unbondService", providerKey(1n), 1_000_000n, BY_SENDER)),
  };
}

// ------------------------------------------------------------------ snapshot and page

export function snapshotOf(gas: BazaarGas): string {
  const lines = Object.entries(gas).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, figure]) => `  ${JSON.stringify(name)}: ${figure}`);
  return `{\n${lines.join(",\n")}\n}\n`;
}

export function readBazaarGas(): BazaarGas {
  return JSON.parse(readFileSync(SNAPSHOT, "utf8")) as BazaarGas;
}

/** docs/BAZAAR.md with its table as the snapshot says. */
export function withBazaarTable(page: string, gas: BazaarGas): string {
  const number = (value: number) => value.toLocaleString("en-US");
  const rows = Object.entries(gas).map(([name, value]) => {
    const target = TARGETS[name];
    return `| ${name} | ${number(value)} | ${target === undefined ? "" : `${number(target)}${value <= target ? "" : " (missed)"}`} |`;
  });
  return page.replace(BLOCK, `<!-- bench:bazaar-gas -->\n${["| act | gas | target |", "|---|---:|---:|", ...rows].join("\n")}\n<!-- /bench:bazaar-gas -->`);
}

export function readBazaarPage(): string {
  return readFileSync(PAGE, "utf8");
}

// ------------------------------------------------------------------ bench

export async function run(args: string[]): Promise<Report> {
  const gas = await measureBazaarGas();
  if (args.includes("--update")) {
    writeFileSync(SNAPSHOT, snapshotOf(gas));
    writeFileSync(PAGE, withBazaarTable(readBazaarPage(), readBazaarGas()));
  }
  return { bench: "bazaar-gas", machine: machine(), commit: commit(), gas };
}

export function table(report: Report): string {
  const rows = Object.entries(report["gas"] as BazaarGas).map(([name, value]) => [name, value, TARGETS[name] ?? ""]);
  return [`BazaarRegistry, whole-transaction gas. ${commit()}; ${machine()}`, "", columns([["act", "gas", "target"], ...rows])].join("\n");
}
