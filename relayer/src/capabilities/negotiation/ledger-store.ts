// SQL of payments in negotiated sessions: reserving and charging at what was agreed (migrations 0024 and 0027).
import type { Hex } from "viem";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import { chargedFrom, chargeValues, reserveValues, type Charge, type Charged, type ChargedRow, type Reservation, type ReserveLimits, type Verdict } from "../ledger/store.ts";
import { capabilityOf, type MandateVerdict } from "../mandates/budget-store.ts";
import { MANDATE_REFUSALS, type RefusalCode } from "../mandates/logic.ts";
import { isSessionRefusal, type SessionRefusal } from "./refusals.ts";

/** As of the mandates' store; or reserved at the price that was agreed; or why the session does not take it. */
export type SessionVerdict = MandateVerdict | { agreed: { price: bigint; sessionId: Hex; offerHash: Hex } } | { session: SessionRefusal };

type Row = { nth: bigint; outcome: string; refused_by: Buffer | null; agreed_price: bigint | null; agreed_session: Buffer | null; agreed_offer: Buffer | null };

/** Reserves calls of sessions, or of channels that may have one. One verdict an item. */
export async function reserveInSessions(db: Queryable, items: readonly Reservation[], limits: ReserveLimits): Promise<SessionVerdict[]> {
  const { rows } = await db.query<Row>({
    name: "payments_reserve_in_sessions",
    text: "SELECT * FROM reserve_in_sessions($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
    values: [
      ...reserveValues(items, limits), items.map(({ payment }) => toBytes(capabilityOf(payment.service))), items.map(({ payment }) => (payment.session === undefined ? null : toBytes(payment.session))),
      items.map(({ payment }) => payment.sharedVoucher === true),
    ],
  });
  const verdicts: SessionVerdict[] = [];
  for (const row of rows) verdicts[Number(row.nth) - 1] = verdictOf(row);
  return verdicts;
}

function verdictOf({ outcome, refused_by, agreed_price, agreed_session, agreed_offer }: Row): SessionVerdict {
  if (isSessionRefusal(outcome)) return { session: outcome };
  if (refused_by !== null && MANDATE_REFUSALS.some((code) => code === outcome)) return { mandate: { code: outcome as RefusalCode, mandateId: toHex(refused_by) } };
  if (outcome !== "reserved" || agreed_session === null || agreed_offer === null || agreed_price === null) return outcome as Verdict;
  return { agreed: { price: agreed_price, sessionId: toHex(agreed_session), offerHash: toHex(agreed_offer) } };
}

/** As ledger/store.ts chargeAll; late answers cost less, and what is owed to the buyer comes off. */
export async function chargeInSessions(db: Queryable, items: readonly Charge[], ttlS: number): Promise<(Charged | undefined)[]> {
  const { rows } = await db.query<ChargedRow>({ name: "payments_charge_in_sessions", text: "SELECT * FROM charge_in_sessions($1, $2, $3, $4, $5, $6, $7, $8)", values: chargeValues(items, ttlS) });
  return chargedFrom(rows, items);
}
