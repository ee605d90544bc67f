import { Readable } from "node:stream";
import type { FastifyInstance } from "fastify";
import type { Static } from "typebox";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf } from "../access/service.ts";
import type { Status } from "../payments/logic.ts";
import { usdc } from "../transfers/logic.ts";
import { exportAll, exportParty } from "./export.ts";
import { readEntryCursor, readSealCursor } from "./logic.ts";
import { ExportQuery, PaymentAuditView, PurchasesQuery, PurchasesView } from "./schemas.ts";
import { auditOfPayment, purchasesOf, readerOf, type AuditDeps, type PaymentAudit, type Purchase } from "./service.ts";

const MOST = Number.MAX_SAFE_INTEGER;
const refusals = { 401: problemResponse("Not signed in"), 404: problemResponse("None, or not yours") };

export function auditRoutes(app: FastifyInstance, deps: AuditDeps): void {
  app.get<{ Querystring: Static<typeof ExportQuery> }>(
    "/api/v1/audit/export",
    {
      schema: {
        tags: ["audit"],
        summary: "The audit log as JSON lines, for `tallystick audit verify`",
        description: "With the operator's token everything; signed in as a party, the entries that name it as payer or payee, each with its Merkle proof. The last line is signed and has the cursor for `after`; without it the file is cut off.",
        querystring: ExportQuery,
        response: { 400: problemResponse("Malformed cursor"), 401: refusals[401] },
      },
    },
    async (request, reply) => {
      const reader = await readerOf(deps, request);
      const { after, limit = MOST } = request.query;
      const lines = reader === "operator" ? exportAll(deps, after === undefined ? undefined : readSealCursor(after), limit) : exportParty(deps, reader, after === undefined ? undefined : readEntryCursor(after), limit);
      return reply.header("Cache-Control", "no-store").type("application/x-ndjson").send(Readable.from(lines));
    },
  );
  app.get<{ Params: { paymentId: string } }>(
    "/api/v1/audit/payments/:paymentId",
    { schema: { tags: ["audit"], summary: "What was decided about a payment, with proofs, and the transaction it led to or why none ever will", response: { 200: PaymentAuditView, ...refusals } } },
    async (request) => auditView(await auditOfPayment(deps, request.params.paymentId, await readerOf(deps, request))),
  );
  app.get<{ Querystring: Static<typeof PurchasesQuery> }>(
    "/api/purchases",
    { schema: { tags: ["audit"], summary: "What you bought and what was refused to you, the newest first", querystring: PurchasesQuery, response: { 200: PurchasesView, 400: problemResponse("Malformed cursor"), 401: refusals[401] } } },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      const { before, limit = 50 } = request.query;
      const { purchases, next } = await purchasesOf(deps, address, before === undefined ? undefined : readEntryCursor(before), limit);
      return reply.header("Cache-Control", "no-store").send({ purchases: purchases.map(purchaseView), next: next ?? null });
    },
  );
}

const transactionOf = (status: Status): string | null => ("transaction" in status ? (status.transaction ?? null) : null);
const reasonOf = (status: Status): string | null => ("reason" in status ? status.reason : null);

function auditView({ paymentId, outcome, entries, unsealed }: PaymentAudit) {
  return {
    paymentId, status: outcome.status, transaction: transactionOf(outcome), reason: reasonOf(outcome), detail: outcome.detail, proof: outcome.status === "NEVER" ? ("money_never_moved" as const) : null,
    entries: entries.map(({ entry, hash, previous, proof, seal: { epoch, number, firstSeq, entries: covered, previous: before, root, head, sealedAtMs, signer, signature } }) => ({
      entry, hash, previous, proof,
      seal: { epoch, number: String(number), firstSeq: String(firstSeq), entries: String(covered), previous: before, root, head, sealedAtMs: String(sealedAtMs), signer, signature },
    })),
    unsealed: unsealed.map(({ seq: _, ...entry }) => entry),
  };
}

function purchaseView({ paymentId, at, decision, entry, told, outcome }: Purchase) {
  const txHash = transactionOf(outcome);
  const text = (value: unknown): string | null => (typeof value === "string" ? value : null);
  const priceAtomic = told === undefined ? (entry.amountAtomic ?? text(entry.data?.["price"])) : String(told.story.price);
  return {
    paymentId, at, decision, status: told === undefined ? statusBefore(decision) : statusOf(told.story), settlement: outcome.status, requestId: told?.story.requestId ?? null, txHash, proof: txHash ?? (outcome.status === "NEVER" ? "money_never_moved" : null),
    rule: entry.rule ?? null, firewallReason: entry.reason ?? (decision === "REJECTED" ? (entry.rule ?? null) : null), policyHash: entry.policyHash ?? null, detail: outcome.detail,
    service: told?.story.service ?? text(entry.data?.["service"]), resource: told?.story.resource ?? null, payee: told?.story.receiver ?? entry.payee ?? null,
    amountUsdc: priceAtomic === null ? null : usdc(BigInt(priceAtomic)), priceAtomic, chargedAtomic: told?.story.charged === undefined ? null : String(told.story.charged),
  };
}

const statusBefore = (decision: Purchase["decision"]) => (decision === "REJECTED" ? "refused" : "serving");

function statusOf({ state, scheme }: NonNullable<Purchase["told"]>["story"]) {
  if (state === "charged") return "delivered";
  if (state !== "released") return "serving";
  return scheme === "transfer" ? "paid_undelivered" : "not_charged";
}
