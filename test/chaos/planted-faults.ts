// One planted fault a money rule: a build that has it must be found out (`npm run chaos -- --planted`). A patch replaces a text that must
// be there exactly once; when the code around it changes, the patch is an error and not a fault that is never found.
//
// source: TypeScript, patched as the relayer loads it. sql: a function of the ledger's database, patched where it is defined.

export type SourcePatch = { /** Below the repository's root. */ file: string; find: string; replace: string };
export type SqlPatch = { function: string; find: string; replace: string };

export type PlantedFault = {
  name: string;
  /** The money rule (design.md 3 and 4) that it breaks. */
  rule: string;
  source?: SourcePatch[];
  sql?: SqlPatch[];
  /** What has to happen for it to show; else any round does. */
  needs?: ("postgres" | "freezes" | "kill at tx.broadcast" | "kill at answer.sent" | "kill at tx.committed.job" | "few kills")[];
};

/** How a process ends that could not be given its fault. */
export const NOT_PLANTED = 97;

const LEDGER = "relayer/src/capabilities/ledger";
const GATEWAY = "relayer/src/capabilities/gateway";

const ofLedger: PlantedFault[] = [
  {
    name: "commit-not-durable",
    rule: "the commit is durable before the first byte leaves",
    sql: [{ function: "charge_payments", find: "BEGIN\n", replace: "BEGIN\n  PERFORM set_config('synchronous_commit', 'off', true);\n" }],
    needs: ["postgres", "few kills"],
  },
  {
    name: "answer-before-commit",
    rule: "charge and answer are committed before the answer is sent",
    source: [{
      file: `${LEDGER}/groups.ts`,
      find: "createGroup((items) => chargeAll(db, items, limits.answerTtlS), isDatabaseUnavailable),",
      replace: `createGroup(async (items) => {
      const client = await db.connect();
      await client.query("BEGIN");
      const charged = await chargeAll(client, items, limits.answerTtlS);
      setTimeout(() => void client.query("COMMIT").then(() => client.release(), (error: Error) => client.release(error)), 150);
      return charged;
    }, isDatabaseUnavailable),`,
    }],
    needs: ["kill at answer.sent"],
  },
  {
    name: "release-not-conditional",
    rule: "a reservation is given back only while it stands",
    source: [{ file: `${LEDGER}/store.ts`, find: "WHERE state = 'reserved' AND reserved_until < now() ORDER BY reserved_until LIMIT $1", replace: "WHERE state IN ('reserved', 'charged') AND channel_id IS NOT NULL AND reserved_until < now() + interval '14 seconds' ORDER BY reserved_until LIMIT $1" }],
    sql: [{ function: "release_payments", find: "AND p.state = 'reserved' RETURNING", replace: "RETURNING" }, { function: "release_payments", find: "resolved_at = now()\n", replace: "resolved_at = now(), charged_atomic = NULL, charged_cumulative = NULL\n" }, { function: "release_payments", find: "c.reserved - s.total", replace: "GREATEST(0, c.reserved - s.total)" }],
  },
  {
    name: "replay-charged-again",
    rule: "a replay is answered and charges nothing",
    source: [{
      file: `${LEDGER}/service.ts`,
      find: `if (answer !== undefined) return { outcome: "replay", payment: resolved, answer };`,
      replace: `if (answer !== undefined) {
    await deps.db.query("UPDATE channel SET charged = charged + $2 WHERE channel_id = $1 AND charged + $2 <= signed_ceiling", [Buffer.from(resolved.channelId.slice(2), "hex"), request.price]);
    return { outcome: "replay", payment: resolved, answer };
  }`,
    }],
  },
  {
    name: "ceiling-above-balance",
    rule: "a voucher's ceiling is covered by the confirmed balance",
    sql: [{ function: "reserve_payments", find: "OR a.ceiling > a.balance OR", replace: "OR" }],
  },
  {
    name: "withdrawal-not-checked",
    rule: "no service while a withdrawal is pending",
    sql: [{ function: "reserve_payments", find: "OR a.withdraw_initiated_at <> 0 OR", replace: "OR" }],
  },
  {
    name: "reservation-leaks",
    rule: "a failed call gives its reservation back",
    sql: [{ function: "release_payments", find: "SET reserved = c.reserved - s.total", replace: "SET reserved = c.reserved" }],
  },
  {
    name: "unbilled-runs-unbounded",
    rule: "work that nobody pays for is bounded",
    sql: [{ function: "reserve_payments", find: "WHEN p.unbilled >= most_unbilled THEN 'unbilled'", replace: "" }],
    needs: ["few kills"],
  },
  {
    name: "charged-in-memory",
    rule: "an old voucher does not come back after a loss of memory",
    source: [{
      file: `${LEDGER}/store.ts`,
      find: "of((p) => p.paymentId), of((p) => toBytes(p.channelId)), of((p) => p.ceiling),",
      replace: "of((p) => p.paymentId), of((p) => toBytes(p.channelId)), of((p) => remembered(p)),",
    }, {
      file: `${LEDGER}/store.ts`,
      find: "/** One item of chargeAll. */",
      replace: `// What this process knows: the highest ceiling it saw. Anything above that is taken, whatever the ledger says.
const highest = new Map<string, bigint>();
function remembered({ channelId, ceiling }: PaymentRequest): bigint {
  const known = highest.get(channelId);
  highest.set(channelId, known === undefined || ceiling > known ? ceiling : known);
  return known === undefined || ceiling > known ? ceiling + 20_000n : ceiling;
}

/** One item of chargeAll. */`,
    }],
  },
  {
    name: "charge-not-conditional",
    rule: "what was given back is not charged",
    sql: [{ function: "charge_payments", find: "WHERE p.state = 'reserved' AND p.channel_id IS NOT NULL", replace: "WHERE p.state IN ('reserved', 'released') AND p.channel_id IS NOT NULL" }, { function: "charge_payments", find: "reserved = c.reserved - t.price", replace: "reserved = GREATEST(0, c.reserved - t.price)" }],
    needs: ["freezes", "few kills"],
  },
];

const ofGateway: PlantedFault[] = [
  {
    name: "failure-charged",
    rule: "a failed upstream is not charged",
    source: [{ file: `${GATEWAY}/service.ts`, find: "if (delivery.answer.status >= 400) {", replace: "if (delivery.answer.status >= 600) {" }],
  },
  {
    name: "abort-charged",
    rule: "a client that is gone before the commit is not charged",
    source: [
      { file: `${GATEWAY}/service.ts`, find: "  if (call.signal.aborted) {\n", replace: "  if (false as boolean) {\n" },
      { file: `${GATEWAY}/upstream.ts`, find: `  call.signal.addEventListener("abort", stop);\n`, replace: "" },
    ],
  },
  {
    name: "exact-before-settlement",
    rule: "exact: an answer is withheld until the money has moved",
    source: [{ file: `${GATEWAY}/exact-rail.ts`, find: "const txHash = payment.settledTx ?? (await moveMoney(deps, payment));", replace: "const txHash = payment.settledTx ?? payment.requestHash;" }],
  },
  {
    name: "exact-twice",
    rule: "exact: an authorisation buys one answer",
    source: [{ file: `${GATEWAY}/exact-rail.ts`, find: "  if (current.requestHash !== request.requestHash) return refuseUsed(deps, request);\n", replace: "" }, { file: `${GATEWAY}/exact-rail.ts`, find: "const identified = request.clientId !== undefined && request.clientId === current.clientId;", replace: "const identified = true as boolean;" }],
  },
];

const ofChain: PlantedFault[] = [
  {
    name: "broadcast-before-commit",
    rule: "signed bytes are committed before they are broadcast",
    source: [{
      file: "relayer/src/chain/submitter.ts",
      find: "    await request.record?.(client, txId);\n",
      replace: `    await request.record?.(client, txId);
    await deps.chain.client.sendRawTransaction({ serializedTransaction: raw }).catch(() => {});
    deps.reached("tx.broadcast");
`,
    }],
    needs: ["kill at tx.broadcast"],
  },
  {
    name: "failed-claim-counts",
    rule: "a settlement that failed is done again",
    source: [
      // Every other claim runs out of gas, which alone costs nothing but time.
      { file: "relayer/src/chain/submitter.ts", find: "nonce, to, data, value: 0n, gas, maxFeePerGas", replace: `nonce, to, data, value: 0n, gas: purpose === "claim" && nonce % 2 === 0 ? gas / 2n : gas, maxFeePerGas` },
      { file: "relayer/src/capabilities/settlement/due-store.ts", find: "const CLAIMABLE = `c.charged > c.total_claimed AND", replace: "const CLAIMABLE = `c.charged > c.total_claimed AND NOT EXISTS (SELECT 1 FROM settlement_row r WHERE r.channel_id = c.channel_id AND r.total_claimed >= c.charged) AND" },
    ],
  },
];

const ofMandates: PlantedFault[] = [
  {
    name: "mandate-budget-kept",
    rule: "a mandate's budget is reserved and released with the payment",
    sql: [{ function: "payment_moves_budget", find: "IF spent_more = 0 AND reserved_more = 0 THEN", replace: "IF spent_more + reserved_more <= 0 THEN" }],
  },
  {
    name: "revocation-ignored",
    rule: "nothing is paid under a revoked mandate",
    sql: [{ function: "mandate_refusal", find: "WHEN m.revoked_at IS NOT NULL OR m.chain_revoked OR", replace: "WHEN" }],
  },
];

const ofJobs: PlantedFault[] = [
  {
    name: "hire-recorded-later",
    rule: "what was sent for a job is written down with its signed bytes",
    source: [{
      file: "relayer/src/capabilities/jobs/sending.ts",
      find: `    const { hash } = await deps.submitter.submit({`,
      replace: `    const { hash, txId: sentAs } = await deps.submitter.submit({`,
    }, {
      file: "relayer/src/capabilities/jobs/sending.ts",
      find: `        if (!(await recordAction(client, jobId, action, txId))) throw new Overtaken();
        await record(client);
      },
    });`,
      replace: `        void txId;
      },
    });
    await new Promise((done) => setTimeout(done, 2_000));
    const later = await deps.db.connect();
    try {
      if (await recordAction(later, jobId, action, sentAs)) await record(later);
    } finally {
      later.release();
    }`,
    }],
    needs: ["kill at tx.committed.job"],
  },
];

export const PLANTED: PlantedFault[] = [...ofLedger, ...ofGateway, ...ofChain, ...ofMandates, ...ofJobs];
