import type { Address, Hex } from "viem";
import type { Mandate } from "../../../../sdk/src/mandate.ts";

/** One mandate of a lineage, with what may have ended it. What time and budget say is decided where they are known. */
export type MandateLink = {
  mandateId: Hex;
  mandate: Mandate;
  /** Whom it allows; undefined: any. */
  payees: readonly Address[] | undefined;
  /** Ended here, on the chain, or by a later epoch of its principal. Ends every mandate below it too. */
  revoked: "relayer" | "chain" | "epoch" | undefined;
};

/** The mandate that a voucher key spends under. */
export type BoundMandate = {
  mandateId: Hex;
  /** Payer of the channels it counts for. */
  principal: Address;
  /** The voucher key (payerAuthorizer). */
  authorizer: Address;
  /** The mandate itself, then its parent, up to the root. */
  lineage: readonly MandateLink[];
};
