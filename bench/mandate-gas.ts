// Gas of MandateRegistry: whole-transaction receipts on an in-process chain. Every figure is deterministic, so
// bench/results/mandate-gas.json is compared for equality; `-- mandate-gas --update` rewrites it and the table in
// docs/MANDATES.md.
//
// Steady state: the payee was paid before, the principal keeps tokens and an unlimited allowance, roots have neither salt nor
// terms. "Plain token" is OpenZeppelin's ERC-20; test USDC does what real USDC does at each transferFrom (pause, three
// blacklist checks, an allowance that is written even when unlimited) and costs 8,400 more.
import { readFileSync, writeFileSync } from "node:fs";
import hre from "hardhat";
import type { Contract, ContractTransactionReceipt } from "ethers";
import { hashTypedData, keccak256, numberToHex, toHex, type Hex } from "viem";
import { erc3009Authorization, mandateAuthorizationNonce, mandateRevocationDigest, spendOrder } from "../sdk/src/mandate-messages.ts";
import type { Mandate } from "../sdk/src/mandate.ts";
import { payeeProof, payeesRoot } from "../sdk/src/payees.ts";
import { receiveWithAuthorizationTypes } from "../sdk/src/typed-data.ts";
import {
  AGENT, createMandateWorld, depositData, idOf, mandateOf, PAYEE, PRINCIPAL, registryAs, signMandate, signSpend, subMandateOf, unsigned, type MandateWorld,
} from "../test/support/mandate-world.ts";
import { actor, channelOf, send, signDigest, signerFor, signWithdrawRequest, VALID_BEFORE_S } from "../test/support/session-world.ts";
import { columns, commit, machine, progress, type Report } from "./report.ts";

const SNAPSHOT = new URL("./results/mandate-gas.json", import.meta.url);
const PAGE = new URL("../docs/MANDATES.md", import.meta.url);
const BLOCK = /<!-- bench:mandate-gas -->\n[\s\S]*?<!-- \/bench:mandate-gas -->/;

export type MandateGas = Record<string, number>;

/** What was aimed at, at depth 0. The peer is a published spend-permission contract, built the same way. */
const TARGETS: Record<string, { target: number; peer?: string }> = {
  approve: { target: 55_000, peer: "65,400" },
  "spend, plain token": { target: 55_000, peer: "71,000-87,000" },
  "spend": { target: 55_000, peer: "71,000-87,000" },
  "first spend, which approves, plain token": { target: 86_000, peer: "152,000 in two transactions" },
  "first spend, which approves": { target: 86_000, peer: "152,000 in two transactions" },
  revoke: { target: 33_000, peer: "53,000" },
};

/** Measures everything; some seconds. */
export async function measureMandateGas(): Promise<MandateGas> {
  await hre.tasks.getTask("build").run({ quiet: true, noTests: true });
  progress("gas: mandates");
  const world = await createMandateWorld();
  try {
    await send(world.usdc, "mint", PAYEE.address, 1n);
    return { ...(await measureRoot(world)), ...(await measurePlainToken(world)), ...(await measureDeposits(world)), ...(await measureLevels(world)) };
  } finally {
    await world.connection.close();
  }
}

const AMOUNT_ATOMIC = 1_000n;
const gasOf = async (receipt: Promise<ContractTransactionReceipt>) => Number((await receipt).gasUsed);
const pays = (lineage: Mandate[], proofs: Hex[][] = []) => spendOrder({ lineage, proofs, payee: PAYEE.address, amount: AMOUNT_ATOMIC });

async function measureRoot(world: MandateWorld): Promise<MandateGas> {
  const [asPrincipal, asAgent] = [await registryAs(world, PRINCIPAL), await registryAs(world, AGENT)];
  // Each is another mandate by its limit, which costs no calldata that another root would not.
  const [byCall, bySignature, inPassing] = [1_000_000n, 1_000_001n, 1_000_002n].map((limit) => mandateOf(world, { limit })) as [Mandate, Mandate, Mandate];
  const gas: MandateGas = { approve: await gasOf(send(asPrincipal, "approve", [byCall])) };
  gas["approveWithSignature"] = await gasOf(send(world.registry, "approveWithSignature", [bySignature], await signMandate(world, PRINCIPAL, bySignature)));
  await send(asAgent, "spend", pays([byCall]));
  gas["spend"] = await gasOf(send(asAgent, "spend", pays([byCall])));
  const approvals = [await signMandate(world, PRINCIPAL, inPassing)];
  gas["first spend, which approves"] = await gasOf(send(asAgent, "spend", { ...pays([inPassing]), approvals }));
  gas["spendWithSignature, first nonce of 256"] = await gasOf(send(world.registry, "spendWithSignature", await signSpend(world, AGENT, pays([byCall]), 0n)));
  gas["spendWithSignature"] = await gasOf(send(world.registry, "spendWithSignature", await signSpend(world, AGENT, pays([byCall]), 1n)));
  const authorization = await authorizationOf(world, byCall);
  gas["spend by ERC-3009"] = await gasOf(send(asAgent, "spend", { ...pays([byCall]), authorization }));
  const rows = Array.from({ length: 10 }, () => unsigned(pays([byCall])));
  gas["spendBatch of 10, a row"] = Math.round((await gasOf(send(asAgent, "spendBatch", rows))) / 10);
  gas["revoke"] = await gasOf(send(asPrincipal, "revoke", [byCall]));
  const order = await signDigest(PRINCIPAL.key, mandateRevocationDigest(world.registryDomain, idOf(world, bySignature)));
  gas["revokeWithSignature"] = await gasOf(send(world.registry, "revokeWithSignature", [bySignature], [], PRINCIPAL.address, order));
  gas["bumpEpoch, first"] = await gasOf(send(await registryAs(world, actor("another principal")), "bumpEpoch"));
  return gas;
}

async function authorizationOf(world: MandateWorld, root: Mandate): Promise<Hex> {
  const salt = numberToHex(0n, { size: 32 });
  const message = {
    from: PRINCIPAL.address, to: world.registryAddress, value: AMOUNT_ATOMIC,
    validAfter: 0n, validBefore: VALID_BEFORE_S, nonce: mandateAuthorizationNonce(idOf(world, root), salt),
  };
  const digest = hashTypedData({ domain: world.usdcDomain, types: receiveWithAuthorizationTypes, primaryType: "ReceiveWithAuthorization", message });
  return erc3009Authorization({ validAfter: 0n, validBefore: VALID_BEFORE_S, salt, signature: await signDigest(PRINCIPAL.key, digest) });
}

async function measurePlainToken(world: MandateWorld): Promise<MandateGas> {
  const plain = await world.ethers.deployContract("PlainToken");
  for (const { address } of [PRINCIPAL, PAYEE]) await send(plain, "mint", address, 10n ** 12n);
  await send(plain.connect(await signerFor(world, PRINCIPAL.address)) as Contract, "approve", world.registryAddress, 2n ** 256n - 1n);
  const token = (await plain.getAddress()) as Hex;
  const [known, fresh] = [mandateOf(world, { token }), mandateOf(world, { token, limit: 1_000_001n })];
  const asAgent = await registryAs(world, AGENT);
  await send(asAgent, "spend", { ...pays([known]), approvals: [await signMandate(world, PRINCIPAL, known)] });
  return {
    "spend, plain token": await gasOf(send(asAgent, "spend", pays([known]))),
    "first spend, which approves, plain token": await gasOf(send(asAgent, "spend", { ...pays([fresh]), approvals: [await signMandate(world, PRINCIPAL, fresh)] })),
  };
}

async function measureDeposits(world: MandateWorld): Promise<MandateGas> {
  const root = mandateOf(world, { limit: 2_000_000n });
  await send(await registryAs(world, PRINCIPAL), "approve", [root]);
  const deposit = async (salt: bigint, nonce: bigint) => {
    const channel = channelOf(world, PRINCIPAL, PAYEE.address, { salt: numberToHex(salt, { size: 32 }) });
    const data = await depositData(world, AGENT, channel, { lineage: [root], amount: AMOUNT_ATOMIC }, nonce);
    return gasOf(send(world.channels, "deposit", channel.config, AMOUNT_ATOMIC, world.registryAddress, data));
  };
  await deposit(1n, 0n);
  const gas: MandateGas = { "deposit into a channel, first": await deposit(2n, 1n), "deposit into a channel, top-up": await deposit(2n, 2n) };
  const channel = channelOf(world, PRINCIPAL, PAYEE.address, { salt: numberToHex(2n, { size: 32 }) });
  const amount = 2n ** 128n - 1n;
  const consent = { channels: world.channelsAddress, config: channel.config, amount, deadline: VALID_BEFORE_S, signature: await signWithdrawRequest(world, channel, amount, VALID_BEFORE_S) };
  gas["revokeAndWithdraw, one channel"] = await gasOf(send(await registryAs(world, PRINCIPAL), "revokeAndWithdraw", [root], [consent]));
  return gas;
}

/** The same payment at every depth; all levels approved and charged before. */
async function measureLevels(world: MandateWorld): Promise<MandateGas> {
  const asAgent = await registryAs(world, AGENT);
  const payees = [PAYEE.address, ...Array.from({ length: 15 }, (_, n) => actor(`other payee ${n}`).address)];
  const gas: MandateGas = {};
  for (const kind of ["any payee", "a payee of 16 at every level"]) {
    const closed = kind !== "any payee";
    const terms = closed ? { payeesRoot: payeesRoot(payees), salt: keccak256(toHex(kind)) } : { limit: 3_000_000n };
    let lineage = [mandateOf(world, terms)];
    await send(await registryAs(world, PRINCIPAL), "approve", lineage);
    for (let depth = 0; depth <= 8; depth++) {
      if (depth > 0) {
        lineage = [subMandateOf(world, lineage[0]!), ...lineage];
        await send(asAgent, "approve", lineage.slice(0, 2));
      }
      const order = pays(lineage, closed ? lineage.map(() => payeeProof(payees, PAYEE.address)) : []);
      await send(asAgent, "spend", order);
      gas[`spend at depth ${depth}, ${kind}`] = await gasOf(send(asAgent, "spend", order));
    }
  }
  return gas;
}

// ------------------------------------------------------------------ snapshot and page

export function snapshotOf(gas: MandateGas): string {
  const lines = Object.entries(gas).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, figure]) => `  ${JSON.stringify(name)}: ${figure}`);
  return `{\n${lines.join(",\n")}\n}\n`;
}

export function readMandateGas(): MandateGas {
  return JSON.parse(readFileSync(SNAPSHOT, "utf8")) as MandateGas;
}

/** docs/MANDATES.md with its table as the snapshot says. */
export function withMandateTable(page: string, gas: MandateGas): string {
  const number = (value: number) => value.toLocaleString("en-US");
  const single = Object.entries(gas).filter(([name]) => !name.startsWith("spend at depth")).map(([name, value]) => {
    const { target, peer } = TARGETS[name] ?? {};
    return `| ${name} | ${number(value)} | ${target === undefined ? "" : `${number(target)}${value <= target ? "" : " (missed)"}`} | ${peer ?? ""} |`;
  });
  const levels = Array.from({ length: 9 }, (_, depth) => {
    const at = (kind: string, level = depth) => gas[`spend at depth ${level}, ${kind}`]!;
    const cells = ["any payee", "a payee of 16 at every level"].map((kind) => `${number(at(kind))}${depth === 0 ? "" : ` (+${number(at(kind) - at(kind, depth - 1))})`}`);
    return `| ${depth} | ${cells.join(" | ")} |`;
  });
  const table = [
    "| act | gas | target | published peer |", "|---|---:|---:|---:|", ...single, "",
    "| depth of the mandate | spend, any payee | spend, a payee of 16 at every level |", "|---|---:|---:|", ...levels,
  ];
  return page.replace(BLOCK, `<!-- bench:mandate-gas -->\n${table.join("\n")}\n<!-- /bench:mandate-gas -->`);
}

export function readMandatePage(): string {
  return readFileSync(PAGE, "utf8");
}

// ------------------------------------------------------------------ bench

export async function run(args: string[]): Promise<Report> {
  const gas = await measureMandateGas();
  if (args.includes("--update")) {
    writeFileSync(SNAPSHOT, snapshotOf(gas));
    writeFileSync(PAGE, withMandateTable(readMandatePage(), readMandateGas()));
  }
  return { bench: "mandate-gas", machine: machine(), commit: commit(), gas };
}

export function table(report: Report): string {
  const rows = Object.entries(report["gas"] as MandateGas).map(([name, value]) => [name, value, TARGETS[name]?.target ?? "", TARGETS[name]?.peer ?? ""]);
  return [`MandateRegistry, whole-transaction gas. ${commit()}; ${machine()}`, "", columns([["act", "gas", "target", "peer"], ...rows])].join("\n");
}
