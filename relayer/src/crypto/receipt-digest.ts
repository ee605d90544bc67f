// receiptHash of sdk/src/receipt.ts with everything prepared: what sellers sign, and the leaves of a claim's tree.
import { saysAgreed, type Receipt } from "../../../sdk/src/receipt.ts";
import { firstReceiptTypes, receiptTypes, type ReceiptDomain } from "../../../sdk/src/typed-data.ts";
import { preparedByDomain } from "./typed-hash.ts";

const hashReceipt = preparedByDomain(receiptTypes, "Receipt");
const hashFirstReceipt = preparedByDomain(firstReceiptTypes, "Receipt");

export function receiptDigest(domain: ReceiptDomain, receipt: Receipt): Uint8Array {
  return (saysAgreed(receipt) ? hashReceipt : hashFirstReceipt)(domain)(receipt);
}
