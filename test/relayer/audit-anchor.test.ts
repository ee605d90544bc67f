// The audit log's roots on a real chain: one a day, whatever dies in between and however many processes try.
import { expect } from "chai";
import { createHash } from "node:crypto";
import type { Hex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { anchorSeals } from "../../relayer/src/capabilities/audit/anchoring.ts";
import type { Relayer } from "../../relayer/src/relayer.ts";
import { auditAnchorAbi } from "../../sdk/src/abi/audit-anchor.ts";
import { verifyAudit, type AuditHashing } from "../../sdk/src/audit/verify.ts";
import { LOCAL_AUDIT_ANCHOR } from "../../sdk/src/constants.ts";
import { keyOf, ROLE } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const OPERATOR = "operator-token-of-at-least-32-characters";
const DAY_S = 86_400;
const hashing: AuditHashing = {
  sha256: (bytes) => createHash("sha256").update(bytes).digest(),
  running() {
    const hash = createHash("sha256");
    return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest() };
  },
};

describe("anchors of the audit log", function () {
  this.timeout(120_000);
  let world: TestWorld;
  let second: Relayer;
  /** What the sweeps of these processes take for now: the sweep itself is called by hand. */
  let today = new Date();

  before(async () => {
    world = await startTestWorld({ sweepsByHand: true, env: { RELAYER_AUDIT_ANCHOR: LOCAL_AUDIT_ANCHOR, RELAYER_OPERATOR_TOKEN: OPERATOR } });
    second = (await world.anotherRelayer()).relayer;
  });
  after(() => world.stop());

  const at = ({ deps }: Relayer) => ({ ...deps, now: () => today });
  const laterBy = (days: number) => {
    today = new Date(today.getTime() + days * DAY_S * 1_000);
  };
  async function seal({ deps }: Relayer, ...subjects: string[]): Promise<void> {
    for (const subject of subjects) deps.audit.record({ kind: "payment.approved", subject });
    await deps.audit.flush();
  }
  async function shown(): Promise<{ day: bigint; root: Hex; relayer: string; transaction: Hex }[]> {
    const logs = await world.chain.client.getContractEvents({ address: LOCAL_AUDIT_ANCHOR, abi: auditAnchorAbi, eventName: "Anchored", fromBlock: 0n, strict: true });
    return logs.map(({ args, transactionHash }) => ({ day: args.day, root: args.root, relayer: args.relayer, transaction: transactionHash }));
  }
  const mined = async () => {
    await world.chain.client.request({ method: "evm_mine" } as never);
    await world.relayer.deps.submitter.sweep();
  };
  async function verdict() {
    const response = await fetch(`${world.url}/api/v1/audit/export`, { headers: { authorization: `Bearer ${OPERATOR}` } });
    const text = await response.text();
    return { lines: text.trimEnd().split("\n"), verdict: await verifyAudit(text.trimEnd().split("\n"), hashing) };
  }

  it("nothing is shown of a day that is not over, or in which nothing happened", async () => {
    expect(await anchorSeals(at(world.relayer))).to.equal(undefined);
    await seal(world.relayer, "pay_1", "pay_2");
    expect(await anchorSeals(at(world.relayer))).to.equal(undefined);
    expect(await shown()).to.deep.equal([]);
  });

  it("a day is shown once, over the seals of all processes, though both try at the same time and again", async () => {
    await seal(second, "pay_3");
    const day = BigInt(Math.floor(today.getTime() / 1_000 / DAY_S));
    laterBy(1);
    const days = await Promise.all([world.relayer, second, world.relayer, second].map((relayer) => anchorSeals(at(relayer))));
    expect(days.filter((one) => one !== undefined)).to.deep.equal([day]);
    expect(await anchorSeals(at(second))).to.equal(undefined);
    await mined();
    const events = await shown();
    expect(events).to.have.length(1);
    expect(events[0]).to.include({ day, relayer: privateKeyToAccount(keyOf(ROLE.submitter)).address });
    const { verdict: told } = await verdict();
    expect(told.fault).to.equal(undefined);
    expect(told.anchors).to.deep.equal([{ day: String(day), root: events[0]!.root, contract: LOCAL_AUDIT_ANCHOR, transaction: events[0]!.transaction, checked: true }]);
  });

  it("days without seals are skipped, and what came in them is under the next anchor", async () => {
    laterBy(3);
    expect(await anchorSeals(at(world.relayer))).to.equal(undefined);
    await seal(world.relayer, "pay_4");
    await seal(second, "pay_5");
    laterBy(1);
    expect(await anchorSeals(at(second))).to.not.equal(undefined);
    await mined();
    const { lines, verdict: told } = await verdict();
    expect(told.fault).to.equal(undefined);
    expect(told.anchors.map(({ checked }) => checked)).to.deep.equal([true, true]);
    expect(told.anchors.map(({ root }) => root)).to.deep.equal((await shown()).map(({ root }) => root));
    // An anchor of another past.
    const nth = lines.findIndex((line) => line.startsWith('{"type":"anchor"'));
    const other = lines.with(nth, lines[nth]!.replace(told.anchors[0]!.root, told.anchors[1]!.root));
    expect((await verifyAudit(other, hashing)).fault).to.include({ line: nth + 1, code: "anchor_mismatch" });
  });

  it("a transaction that can no longer happen is replaced by another, with the same root", async () => {
    await seal(world.relayer, "pay_6");
    laterBy(1);
    const day = await anchorSeals(at(world.relayer));
    const { db } = world.relayer.deps;
    const { rows: [before] } = await db.query<{ tx_id: bigint }>("SELECT tx_id FROM audit_anchor WHERE day = $1", [day]);
    // As the submitter leaves one whose nonce was spent by a transaction that nobody recorded.
    await mined();
    await db.query("UPDATE chain_tx SET state = 'dropped', block_number = NULL, block_hash = NULL WHERE tx_id = $1", [before!.tx_id]);
    await anchorSeals(at(second));
    await mined();
    const { rows: [after] } = await db.query<{ tx_id: bigint }>("SELECT tx_id FROM audit_anchor WHERE day = $1", [day]);
    expect(after!.tx_id).to.not.equal(before!.tx_id);
    const events = (await shown()).filter((event) => event.day === day);
    expect(new Set(events.map(({ root }) => root)).size).to.equal(1);
    expect((await verdict()).verdict.anchors.at(-1)).to.include({ day: String(day), transaction: events.at(-1)!.transaction });
  });
});
