// Whose money an agent spends, and who signs for it: its own keys, or a principal's mandate with a guard that holds the voucher key.
import { isAddressEqual, type Address } from "viem";
import { TallystickError } from "../errors.ts";
import type { GuardClient, Purpose } from "../guard/client.ts";
import type { ChannelBook, Ticket } from "./channel.ts";
import type { PayContext } from "./pay.ts";
import { signDeposit, signVoucher, type Signer, type VoucherWire } from "./payments.ts";
import type { Session } from "./session.ts";
import type { Terms } from "./terms.ts";

export type Purse = {
  /** The agent's own key. */
  account: Signer;
  /** Whose channels they are: the agent's own address, or the mandate's principal. */
  payer: Address;
  guard: GuardClient | undefined;
  /** The channels' payerAuthorizer. */
  authorizer(): Promise<Address>;
  /** Signs the voucher. Ask `voucherFor`, which counts it. */
  sign(terms: Pick<Terms, "chainId">, contract: Address, book: ChannelBook, ticket: Ticket, purpose: Purpose): Promise<VoucherWire>;
  /** A deposit of `amount`, or less, as its payload says it; undefined when none can be had and a voucher up to `ceiling` needs none. */
  deposit(terms: Terms, book: ChannelBook, amount: bigint, ceiling: bigint): Promise<Record<string, unknown> | undefined>;
};

/** The agent pays for itself. */
export function ownPurse(account: Signer, voucherSigner: Signer): Purse {
  return {
    account, payer: account.address, guard: undefined,
    authorizer: async () => voucherSigner.address,
    sign: ({ chainId }, contract, { channelId }, { ceiling }) => signVoucher(voucherSigner, chainId, contract, channelId, ceiling),
    deposit: (terms, { channelId }, amount) => signDeposit(account, terms, channelId, amount),
  };
}

/** The agent pays under a mandate. `deposit` signs what moves the principal's tokens. */
export function guardedPurse(account: Signer, guard: GuardClient, deposit: Purse["deposit"]): Purse {
  const { delegate } = guard.lineage[0].mandate;
  if (!isAddressEqual(account.address, delegate)) throw new TypeError(`the mandate's delegate is ${delegate}, the agent's account ${account.address}`);
  return {
    account, payer: guard.principal, guard,
    authorizer: () => guard.authorizer(),
    sign: (_terms, _contract, book, ticket, purpose) => guard.voucher(book, ticket, purpose),
    deposit,
  };
}

/** Counted and written down before it is signed: a crash after this forgets no money. What is refused is not counted. */
export async function voucherFor(context: PayContext, session: Session, terms: Pick<Terms, "chainId">, ticket: Ticket, purpose: Purpose): Promise<VoucherWire> {
  const { book } = session;
  const { budget } = context.state;
  const before = book.signed;
  if (ticket.ceiling > before) {
    budget.sign(ticket.ceiling - before);
    book.signed = ticket.ceiling;
    await context.state.save();
  }
  const counted = book.signed;
  try {
    const most = budget.room === undefined ? undefined : book.signed + budget.room;
    const voucher = await context.purse.sign(terms, context.contract, book, ticket, { ...purpose, most });
    const ceiling = BigInt(voucher.maxClaimableAmount);
    if (ceiling > book.signed) {
      budget.sign(ceiling - book.signed);
      book.signed = ceiling;
      await context.state.save();
    }
    return voucher;
  } catch (error) {
    if (error instanceof TallystickError && error.extra["decision"] !== undefined && counted > before && book.signed === counted) {
      budget.giveBack(counted - before);
      book.signed = before;
      context.state.saveSoon();
    }
    throw error;
  }
}
