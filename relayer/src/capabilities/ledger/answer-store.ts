// What was delivered, as it lies in the database: sealed, headers and body together.
import type { Queryable } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { answerHash } from "./logic.ts";
import type { Answer, Delivery, SealedDelivery } from "./types.ts";

type VaultDeps = Pick<Deps, "vault">;

const LENGTH_BYTES = 4;

/** The bytes for answer.body of a row whose `sealed` is true; the status stands beside it in the clear. */
export function sealAnswer({ vault }: VaultDeps, paymentId: string, { headers, body }: Pick<Answer, "headers" | "body">): Buffer {
  const head = Buffer.from(JSON.stringify(headers));
  const plain = Buffer.allocUnsafe(LENGTH_BYTES + head.length + body.length);
  plain.writeUInt32BE(head.length);
  head.copy(plain, LENGTH_BYTES);
  plain.set(body, LENGTH_BYTES + head.length);
  return vault.seal(paymentId, plain);
}

export function sealDelivery(deps: VaultDeps, paymentId: string, { answer, startedAt, endedAt }: Delivery): SealedDelivery {
  return { status: answer.status, sealed: sealAnswer(deps, paymentId, answer), outputHash: answerHash(answer), startedAt, endedAt };
}

export async function findAnswer({ db, vault }: Pick<Deps, "db" | "vault">, paymentId: string): Promise<Answer | undefined> {
  const { rows } = await db.query<{ status: number; headers: Answer["headers"] | null; body: Buffer; sealed: boolean }>({
    name: "answer_find",
    text: "SELECT status, headers, body, sealed FROM answer WHERE payment_id = $1 AND expires_at > now()",
    values: [paymentId],
  });
  const [row] = rows;
  if (row === undefined) return undefined;
  if (!row.sealed) return { status: row.status, headers: row.headers ?? {}, body: row.body };
  const plain = vault.open(paymentId, row.body);
  const bodyAt = LENGTH_BYTES + plain.readUInt32BE();
  return { status: row.status, headers: JSON.parse(plain.toString("utf8", LENGTH_BYTES, bodyAt)) as Answer["headers"], body: plain.subarray(bodyAt) };
}

export async function deleteExpiredAnswers(db: Queryable, limit: number): Promise<number> {
  const { rowCount } = await db.query({
    name: "answer_expire",
    text: "DELETE FROM answer WHERE payment_id IN (SELECT payment_id FROM answer WHERE expires_at < now() LIMIT $1)",
    values: [limit],
  });
  return rowCount ?? 0;
}
