// All commands, in the order in which help lists them.
import type { Command } from "./command.ts";
import { auditExport, auditVerify } from "./commands/audit.ts";
import { channelsList, channelsShow } from "./commands/channels.ts";
import { channelsClose } from "./commands/channels-close.ts";
import { claim } from "./commands/claim.ts";
import { doctor } from "./commands/doctor.ts";
import { invoicesList, invoicesPay } from "./commands/invoices.ts";
import { keystoreCreate, keystoreImport, keystoreShow } from "./commands/keystore.ts";
import { guard } from "./commands/guard.ts";
import { mandateCreate, mandateList, mandateRevoke, mandateShow, mandateTree } from "./commands/mandate.ts";
import { pay } from "./commands/pay.ts";
import { policyApply, policyTest } from "./commands/policy.ts";
import { payoutsNow, payoutsSchedule, payoutsShow } from "./commands/payouts.ts";
import { negotiate } from "./commands/negotiate.ts";
import { receiptVerify } from "./commands/receipt.ts";
import { vouchersImport } from "./commands/vouchers-import.ts";
import { sell } from "./commands/sell.ts";
import { statements } from "./commands/statements.ts";
import { trace } from "./commands/trace.ts";
import { up } from "./commands/up.ts";
import { withdraw } from "./commands/withdraw.ts";

export const COMMANDS: readonly Command[] = [up, pay, negotiate, mandateCreate, mandateList, mandateShow, mandateTree, mandateRevoke, guard, policyTest, policyApply, sell, statements, payoutsShow, payoutsSchedule, payoutsNow, invoicesList, invoicesPay, channelsList, channelsShow, channelsClose, withdraw, claim, vouchersImport, trace, receiptVerify, auditVerify, auditExport, doctor, keystoreCreate, keystoreImport, keystoreShow];
