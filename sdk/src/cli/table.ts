// All commands, in the order in which help lists them.
import type { Command } from "./command.ts";
import { auditExport, auditVerify } from "./commands/audit.ts";
import { channelsList, channelsShow } from "./commands/channels.ts";
import { channelsClose } from "./commands/channels-close.ts";
import { claim } from "./commands/claim.ts";
import { doctor } from "./commands/doctor.ts";
import { find } from "./commands/find.ts";
import { disputeOpen, disputeReveal, disputeRule, disputeShow, disputeVote } from "./commands/dispute.ts";
import { jobAccept, jobHire, jobList, jobPost, jobQuote, jobReject, jobShow, jobSubmit } from "./commands/job.ts";
import { invoicesList, invoicesPay } from "./commands/invoices.ts";
import { keystoreCreate, keystoreImport, keystoreShow } from "./commands/keystore.ts";
import { guard } from "./commands/guard.ts";
import { mandateCreate, mandateList, mandateRevoke, mandateShow, mandateTree } from "./commands/mandate.ts";
import { pay } from "./commands/pay.ts";
import { policyApply, policyTest } from "./commands/policy.ts";
import { payoutsNow, payoutsSchedule, payoutsShow } from "./commands/payouts.ts";
import { rate } from "./commands/rate.ts";
import { receiptProve, receiptVerify } from "./commands/receipt.ts";
import { negotiate } from "./commands/negotiate.ts";
import { vouchersImport } from "./commands/vouchers-import.ts";
import { sell } from "./commands/sell.ts";
import { sellList, sellPause, sellRemove, sellResume, sellUpdate } from "./commands/sell-listing.ts";
import { statements } from "./commands/statements.ts";
import { trace } from "./commands/trace.ts";
import { up } from "./commands/up.ts";
import { withdraw } from "./commands/withdraw.ts";

export const COMMANDS: readonly Command[] = [up, pay, negotiate, find, mandateCreate, mandateList, mandateShow, mandateTree, mandateRevoke, guard, policyTest, policyApply, jobPost, jobQuote, jobHire, jobSubmit, jobAccept, jobReject, jobShow, jobList, disputeOpen, disputeVote, disputeReveal, disputeRule, disputeShow, sell, sellList, sellUpdate, sellPause, sellResume, sellRemove, statements, payoutsShow, payoutsSchedule, payoutsNow, invoicesList, invoicesPay, channelsList, channelsShow, channelsClose, withdraw, claim, vouchersImport, rate, trace, receiptProve, receiptVerify, auditVerify, auditExport, doctor, keystoreCreate, keystoreImport, keystoreShow];
