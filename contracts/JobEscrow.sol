// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IACPHook} from "./interfaces/IACPHook.sol";
import {IERC3009} from "./interfaces/IERC3009.sol";
import {IERC8183} from "./interfaces/IERC8183.sol";
import {IJobEscrow} from "./interfaces/IJobEscrow.sol";
import {IJobOutcomes} from "./interfaces/IJobOutcomes.sol";
import {IMandateRegistry} from "./interfaces/IMandateRegistry.sol";
import {BoundedCall} from "./libraries/BoundedCall.sol";
import {JobTypes} from "./libraries/JobTypes.sol";

/// @title JobEscrow
/// @notice Holds the price of a job until its evaluator says that it is done, or until it expires. Ownerless, without proxy or
/// pause.
/// @dev What holds after every call: the token balance is the sum of the budgets of the jobs that are Funded or Submitted (for a
/// token that moves what it is asked to; tokens sent here by mistake stay on top). A budget enters in `_pull`, which is
/// followed by Funded, and leaves in `_pay`, which comes after a terminal state; so it is paid out once, and an Open job,
/// which was never funded, pays nothing.
///
/// Every verb holds the reentrancy guard from its first check to its last hook, so what a hook or token calls back is refused,
/// and what was checked before the hook still holds after it.
contract JobEscrow is IJobEscrow, IJobOutcomes, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    // ------------------------------------------------------------------ constants

    /// @inheritdoc IJobEscrow
    uint96 public constant MAX_BUDGET = type(uint96).max;
    /// @inheritdoc IJobEscrow
    uint256 public constant HOOK_GAS = 500_000;
    uint256 private constant BPS = 10_000;

    bytes32 public constant HIRE_TYPEHASH = JobTypes.HIRE;
    bytes32 public constant SUBMISSION_TYPEHASH = JobTypes.SUBMISSION;
    bytes32 public constant COMPLETION_TYPEHASH = JobTypes.COMPLETION;
    bytes32 public constant REJECTION_TYPEHASH = JobTypes.REJECTION;

    /// @inheritdoc IJobEscrow
    address public immutable token;
    /// @inheritdoc IJobEscrow
    address public immutable mandateRegistry;
    /// @inheritdoc IJobEscrow
    uint16 public immutable feeBps;
    /// @inheritdoc IJobEscrow
    address public immutable treasury;

    // ------------------------------------------------------------------ storage

    /// @dev All that `submit` reads and every verb writes; one slot.
    struct Work {
        address provider;
        uint40 expiredAt;
        JobStatus status;
        bool hooked;
        /// @dev The provider's part of a completed job; zero until then.
        uint16 providerBps;
    }

    /// @dev One slot.
    struct Money {
        address client;
        uint96 budget;
    }

    struct Stored {
        Work work;
        Money money;
        address evaluator;
        address hook;
        string description;
    }

    mapping(uint256 jobId => Stored) private _jobs;
    /// @inheritdoc IJobEscrow
    uint256 public jobCount;

    /// @param feeBps_ 0: no fee, and then treasury_ is zero.
    constructor(address token_, address mandateRegistry_, uint16 feeBps_, address treasury_)
        EIP712("Tallystick Job Escrow", "1")
    {
        bool noFee = feeBps_ == 0 && treasury_ == address(0);
        bool fee = feeBps_ != 0 && feeBps_ <= BPS && treasury_ != address(0) && treasury_ != address(this);
        require(noFee || fee, InvalidFee(feeBps_, treasury_));
        (token, mandateRegistry, feeBps, treasury) = (token_, mandateRegistry_, feeBps_, treasury_);
    }

    // ------------------------------------------------------------------ open

    /// @inheritdoc IERC8183
    function createJob(address provider, address evaluator, uint256 expiredAt, string calldata description, address hook)
        external
        nonReentrant
        returns (uint256 jobId)
    {
        jobId = _create(msg.sender, provider, evaluator, expiredAt, description, hook);
    }

    /// @inheritdoc IERC8183
    function setProvider(uint256 jobId, address provider, bytes calldata optParams) external nonReentrant {
        Stored storage job = _jobs[jobId];
        Work memory work = _open(job, jobId);
        address client = job.money.client;
        require(msg.sender == client, NotClient(msg.sender, client));
        require(work.provider == address(0), ProviderAlreadySet(jobId, work.provider));
        require(provider != address(0), InvalidProvider(provider));
        _requireProvider(provider, job.evaluator);

        bytes memory data = work.hooked ? abi.encode(provider, optParams) : bytes("");
        _before(job, work.hooked, jobId, IERC8183.setProvider.selector, data);
        job.work.provider = provider;
        emit ProviderSet(jobId, provider);
        _after(job, work.hooked, jobId, IERC8183.setProvider.selector, data);
    }

    /// @inheritdoc IERC8183
    function setBudget(uint256 jobId, uint256 amount, bytes calldata optParams) external nonReentrant {
        Stored storage job = _jobs[jobId];
        Work memory work = _open(job, jobId);
        require(msg.sender == job.money.client || msg.sender == work.provider, NotClientOrProvider(msg.sender));
        uint96 budget = _budgetOf(amount);

        bytes memory data = work.hooked ? abi.encode(amount, optParams) : bytes("");
        _before(job, work.hooked, jobId, IERC8183.setBudget.selector, data);
        job.money.budget = budget;
        emit BudgetSet(jobId, amount);
        _after(job, work.hooked, jobId, IERC8183.setBudget.selector, data);
    }

    /// @inheritdoc IERC8183
    function fund(uint256 jobId, uint256 expectedBudget, bytes calldata optParams) external nonReentrant {
        Stored storage job = _jobs[jobId];
        Work memory work = _open(job, jobId);
        Money memory money = job.money;
        require(msg.sender == money.client, NotClient(msg.sender, money.client));
        _requireFundable(jobId, work.provider, money.budget);
        require(money.budget == expectedBudget, BudgetMismatch(jobId, expectedBudget, money.budget));
        require(block.timestamp < work.expiredAt, JobHasExpired(jobId, work.expiredAt, block.timestamp));

        _before(job, work.hooked, jobId, IERC8183.fund.selector, optParams);
        job.work.status = JobStatus.Funded;
        uint256 before = _balance();
        IERC20(token).safeTransferFrom(money.client, address(this), money.budget);
        _requireReceived(before, money.budget);
        emit JobFunded(jobId, money.client, money.budget);
        _after(job, work.hooked, jobId, IERC8183.fund.selector, optParams);
    }

    function _create(
        address client,
        address provider,
        address evaluator,
        uint256 expiredAt,
        string calldata description,
        address hook
    ) private returns (uint256 jobId) {
        require(evaluator != address(0), InvalidEvaluator(evaluator));
        _requireProvider(provider, evaluator);
        require(
            expiredAt > block.timestamp && expiredAt <= type(uint40).max, InvalidExpiry(expiredAt, block.timestamp)
        );
        require(hook == address(0) || hook.code.length != 0, InvalidHook(hook));

        jobId = ++jobCount;
        Stored storage job = _jobs[jobId];
        job.work = Work(provider, uint40(expiredAt), JobStatus.Open, hook != address(0), 0);
        job.money.client = client;
        job.evaluator = evaluator;
        if (hook != address(0)) job.hook = hook;
        job.description = description;
        emit JobCreated(jobId, client, provider, evaluator, expiredAt);
        emit JobDescribed(jobId, hook, description);
    }

    /// @dev A provider that judged itself, or the escrow paying itself, is no escrow.
    function _requireProvider(address provider, address evaluator) private view {
        require(provider != evaluator && provider != address(this), InvalidProvider(provider));
    }

    function _requireFundable(uint256 jobId, address provider, uint256 budget) private pure {
        require(provider != address(0), ProviderNotSet(jobId));
        require(budget != 0, ZeroBudget(jobId));
    }

    function _budgetOf(uint256 amount) private pure returns (uint96) {
        require(amount <= MAX_BUDGET, BudgetTooLarge(amount));
        return uint96(amount);
    }

    // ------------------------------------------------------------------ hire

    /// @inheritdoc IJobEscrow
    function hire(HireTerms calldata terms) external nonReentrant returns (uint256 jobId) {
        jobId = _begin(msg.sender, terms);
        uint256 before = _balance();
        IERC20(token).safeTransferFrom(msg.sender, address(this), terms.budget);
        _funded(jobId, msg.sender, terms, before);
    }

    /// @inheritdoc IJobEscrow
    /// @dev Only the recipient can use a ReceiveWithAuthorization, so nobody can send it past the escrow.
    function hireWithAuthorization(address client, HireTerms calldata terms, bytes calldata authorization)
        external
        nonReentrant
        returns (uint256 jobId)
    {
        jobId = _begin(client, terms);
        uint256 before = _balance();
        (uint256 validAfter, uint256 validBefore, bytes32 salt, bytes memory signature) =
            abi.decode(authorization, (uint256, uint256, bytes32, bytes));
        bytes32 nonce = keccak256(abi.encode(getHireDigest(client, terms), salt));
        IERC3009(token).receiveWithAuthorization(
            client, address(this), terms.budget, validAfter, validBefore, nonce, signature
        );
        _funded(jobId, client, terms, before);
    }

    /// @inheritdoc IJobEscrow
    /// @dev The registry lets only the mandate's delegate spend, which is the escrow, and the escrow spends a mandate only here
    /// and only for the job whose digest it carries: a delegate's MandateSpend would bind payee and amount, but no job, and
    /// anyone could send it to the registry past the escrow. A limit of one budget makes it good for one job.
    function hireByMandate(HireTerms calldata terms, bytes calldata order)
        external
        nonReentrant
        returns (uint256 jobId)
    {
        IMandateRegistry.Spend calldata spend = _spendIn(order);
        (address client, address agent) = _requireMandate(terms, spend);
        jobId = _begin(client, terms);
        uint256 before = _balance();
        // The order as it came: to encode it anew would cost gas and code, and could only change it.
        Address.functionCall(mandateRegistry, bytes.concat(IMandateRegistry.spend.selector, order));
        bytes32 mandateId = IMandateRegistry(mandateRegistry).getMandateId(spend.lineage[0]);
        emit JobHiredByMandate(jobId, mandateId, agent);
        _funded(jobId, client, terms, before);
    }

    function _requireMandate(HireTerms calldata terms, IMandateRegistry.Spend calldata spend)
        private
        view
        returns (address client, address agent)
    {
        require(spend.lineage.length != 0, WrongMandate(0));
        IMandateRegistry.Mandate calldata mandate = spend.lineage[0];
        client = mandate.principal;
        bytes32 digest = getHireDigest(client, terms);
        require(
            mandate.delegate == address(this) && mandate.token == token && mandate.terms == digest
                && mandate.limit == terms.budget && spend.amount == terms.budget && spend.payee == address(this),
            WrongMandate(digest)
        );
        // The registry makes sure that the second of the lineage is the parent of the first.
        agent = spend.lineage.length == 1 ? client : spend.lineage[1].delegate;
    }

    /// @dev Reads the struct where it lies; what it reads past the end of `order` is not there for the registry, which refuses.
    function _spendIn(bytes calldata order) private pure returns (IMandateRegistry.Spend calldata spend) {
        uint256 offset = uint256(bytes32(order[:0x20]));
        bytes calldata body = order[offset:];
        assembly ("memory-safe") {
            spend := body.offset
        }
    }

    /// @dev Creates the job and sets its budget; what is left is to fund it.
    function _begin(address client, HireTerms calldata terms) private returns (uint256 jobId) {
        uint96 budget = _budgetOf(terms.budget);
        jobId = _create(
            client, terms.provider, terms.evaluator, terms.expiredAt, terms.description, terms.hook
        );
        _requireFundable(jobId, terms.provider, budget);
        Stored storage job = _jobs[jobId];
        bool hooked = terms.hook != address(0);
        bytes memory data = hooked ? abi.encode(terms.budget, bytes("")) : bytes("");
        _before(job, hooked, jobId, IERC8183.setBudget.selector, data);
        job.money = Money(client, budget);
        emit BudgetSet(jobId, budget);
        _after(job, hooked, jobId, IERC8183.setBudget.selector, data);
        _before(job, hooked, jobId, IERC8183.fund.selector, terms.optParams);
        job.work = Work(terms.provider, uint40(terms.expiredAt), JobStatus.Funded, hooked, 0);
    }

    function _funded(uint256 jobId, address client, HireTerms calldata terms, uint256 balanceBefore) private {
        _requireReceived(balanceBefore, terms.budget);
        emit JobFunded(jobId, client, terms.budget);
        _after(_jobs[jobId], terms.hook != address(0), jobId, IERC8183.fund.selector, terms.optParams);
    }

    // ------------------------------------------------------------------ submit

    /// @inheritdoc IERC8183
    function submit(uint256 jobId, bytes32 deliverable, bytes calldata optParams) external {
        _submit(jobId, deliverable, optParams, msg.sender);
    }

    /// @inheritdoc IJobEscrow
    function submitBySig(
        uint256 jobId,
        bytes32 deliverable,
        bytes calldata optParams,
        uint256 deadline,
        bytes calldata signature
    ) external {
        address provider = _jobs[jobId].work.provider;
        bytes32 digest = getSubmissionDigest(jobId, deliverable, optParams, deadline);
        _requireSignature(provider, digest, deadline, signature);
        _submit(jobId, deliverable, optParams, provider);
    }

    function _submit(uint256 jobId, bytes32 deliverable, bytes calldata optParams, address sender)
        private
        nonReentrant
    {
        Stored storage job = _jobs[jobId];
        Work memory work = _existing(job, jobId);
        require(work.status == JobStatus.Funded, WrongStatus(jobId, work.status));
        require(sender == work.provider, NotProvider(sender, work.provider));
        require(block.timestamp < work.expiredAt, JobHasExpired(jobId, work.expiredAt, block.timestamp));

        bytes memory data = work.hooked ? abi.encode(deliverable, optParams) : bytes("");
        _before(job, work.hooked, jobId, IERC8183.submit.selector, data);
        _become(job, work, JobStatus.Submitted);
        emit JobSubmitted(jobId, sender, deliverable);
        _after(job, work.hooked, jobId, IERC8183.submit.selector, data);
    }

    // ------------------------------------------------------------------ complete

    /// @inheritdoc IERC8183
    function complete(uint256 jobId, bytes32 reason, bytes calldata optParams) external {
        _complete(jobId, BPS, reason, optParams, msg.sender);
    }

    /// @inheritdoc IJobEscrow
    function completeBySig(
        uint256 jobId,
        bytes32 reason,
        bytes calldata optParams,
        uint256 deadline,
        bytes calldata signature
    ) external {
        address evaluator = _jobs[jobId].evaluator;
        _requireSignature(evaluator, getCompletionDigest(jobId, reason, optParams, deadline), deadline, signature);
        _complete(jobId, BPS, reason, optParams, evaluator);
    }

    /// @inheritdoc IJobEscrow
    function completeSplit(uint256 jobId, uint16 providerBps, bytes32 reason, bytes calldata optParams) external {
        require(providerBps != 0 && providerBps <= BPS, InvalidSplit(providerBps));
        _complete(jobId, providerBps, reason, optParams, msg.sender);
    }

    function _complete(uint256 jobId, uint256 providerBps, bytes32 reason, bytes calldata optParams, address sender)
        private
        nonReentrant
    {
        Stored storage job = _jobs[jobId];
        Work memory work = _existing(job, jobId);
        require(work.status == JobStatus.Submitted, WrongStatus(jobId, work.status));
        address evaluator = job.evaluator;
        require(sender == evaluator, NotEvaluator(sender, evaluator));

        bytes memory data = work.hooked ? abi.encode(reason, optParams) : bytes("");
        _before(job, work.hooked, jobId, IERC8183.complete.selector, data);
        work.providerBps = uint16(providerBps);
        _become(job, work, JobStatus.Completed);
        emit JobCompleted(jobId, evaluator, reason);
        _divide(jobId, job.money, work.provider, providerBps);
        _after(job, work.hooked, jobId, IERC8183.complete.selector, data);
    }

    /// @dev Pays the whole budget out: the provider's part less the fee, the fee, and the client's rest.
    function _divide(uint256 jobId, Money memory money, address provider, uint256 providerBps) private {
        (uint256 part, uint256 fee) = _partOf(money.budget, providerBps);
        emit PaymentReleased(jobId, provider, part - fee);
        _pay(provider, part - fee);
        if (fee != 0) {
            emit FeePaid(jobId, treasury, fee);
            _pay(treasury, fee);
        }
        if (providerBps == BPS) return;
        uint256 rest = money.budget - part;
        emit JobSplit(jobId, money.client, provider, uint16(providerBps), part, rest);
        emit Refunded(jobId, money.client, rest);
        _pay(money.client, rest);
    }

    /// @dev What is taken from the budget for the provider, and what of that is the fee.
    function _partOf(uint256 budget, uint256 providerBps) private view returns (uint256 part, uint256 fee) {
        part = budget * providerBps / BPS;
        fee = part * feeBps / BPS;
    }

    // ------------------------------------------------------------------ refund

    /// @inheritdoc IERC8183
    function reject(uint256 jobId, bytes32 reason, bytes calldata optParams) external {
        _reject(jobId, reason, optParams, msg.sender);
    }

    /// @inheritdoc IJobEscrow
    function rejectBySig(
        uint256 jobId,
        bytes32 reason,
        bytes calldata optParams,
        uint256 deadline,
        bytes calldata signature
    ) external {
        Stored storage job = _jobs[jobId];
        address rejector = job.work.status == JobStatus.Open ? job.money.client : job.evaluator;
        _requireSignature(rejector, getRejectionDigest(jobId, reason, optParams, deadline), deadline, signature);
        _reject(jobId, reason, optParams, rejector);
    }

    function _reject(uint256 jobId, bytes32 reason, bytes calldata optParams, address sender) private nonReentrant {
        Stored storage job = _jobs[jobId];
        Work memory work = _existing(job, jobId);
        Money memory money = job.money;
        bool funded = _holds(work.status);
        if (funded) {
            address evaluator = job.evaluator;
            require(sender == evaluator, NotEvaluator(sender, evaluator));
        } else {
            require(work.status == JobStatus.Open, WrongStatus(jobId, work.status));
            require(sender == money.client, NotClient(sender, money.client));
        }

        bytes memory data = work.hooked ? abi.encode(reason, optParams) : bytes("");
        _before(job, work.hooked, jobId, IERC8183.reject.selector, data);
        _become(job, work, JobStatus.Rejected);
        emit JobRejected(jobId, sender, reason);
        if (funded) _refund(jobId, money);
        _after(job, work.hooked, jobId, IERC8183.reject.selector, data);
    }

    /// @inheritdoc IERC8183
    /// @dev Never calls the hook: whatever it does, an expired job is refunded.
    function claimRefund(uint256 jobId) external nonReentrant {
        Stored storage job = _jobs[jobId];
        Work memory work = _existing(job, jobId);
        require(_holds(work.status), WrongStatus(jobId, work.status));
        require(block.timestamp >= work.expiredAt, JobHasNotExpired(jobId, work.expiredAt, block.timestamp));
        _become(job, work, JobStatus.Expired);
        emit JobExpired(jobId);
        _refund(jobId, job.money);
    }

    function _refund(uint256 jobId, Money memory money) private {
        emit Refunded(jobId, money.client, money.budget);
        _pay(money.client, money.budget);
    }

    // ------------------------------------------------------------------ state

    /// @dev Whether a job in that state has its budget here.
    function _holds(JobStatus status) private pure returns (bool) {
        return status == JobStatus.Funded || status == JobStatus.Submitted;
    }

    function _existing(Stored storage job, uint256 jobId) private view returns (Work memory work) {
        work = job.work;
        require(work.expiredAt != 0, UnknownJob(jobId));
    }

    function _open(Stored storage job, uint256 jobId) private view returns (Work memory work) {
        work = _existing(job, jobId);
        require(work.status == JobStatus.Open, WrongStatus(jobId, work.status));
    }

    function _become(Stored storage job, Work memory work, JobStatus status) private {
        work.status = status;
        job.work = work;
    }

    // ------------------------------------------------------------------ tokens

    function _balance() private view returns (uint256) {
        return IERC20(token).balanceOf(address(this));
    }

    function _requireReceived(uint256 balanceBefore, uint256 amount) private view {
        uint256 balance = _balance();
        require(balance == balanceBefore + amount, WrongTokenBalance(balance, balanceBefore + amount));
    }

    function _pay(address to, uint256 amount) private {
        if (amount != 0) IERC20(token).safeTransfer(to, amount);
    }

    // ------------------------------------------------------------------ hooks

    function _before(Stored storage job, bool hooked, uint256 jobId, bytes4 selector, bytes memory data) private {
        if (hooked) _call(job.hook, selector, abi.encodeCall(IACPHook.beforeAction, (jobId, selector, data)));
    }

    function _after(Stored storage job, bool hooked, uint256 jobId, bytes4 selector, bytes memory data) private {
        if (hooked) _call(job.hook, selector, abi.encodeCall(IACPHook.afterAction, (jobId, selector, data)));
    }

    function _call(address hook, bytes4 selector, bytes memory data) private {
        // An account can lose its code (EIP-7702), and a call to none would pass for consent.
        require(hook.code.length != 0, InvalidHook(hook));
        (bool success, bytes memory reason) = BoundedCall.tryCall(hook, HOOK_GAS, data);
        require(success, HookFailed(hook, selector, reason));
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IJobEscrow
    function getJob(uint256 jobId) external view returns (Job memory) {
        Stored storage job = _jobs[jobId];
        Work memory work = _existing(job, jobId);
        Money memory money = job.money;
        return Job({
            client: money.client,
            provider: work.provider,
            evaluator: job.evaluator,
            description: job.description,
            budget: money.budget,
            expiredAt: work.expiredAt,
            status: work.status,
            hook: job.hook
        });
    }

    /// @inheritdoc IJobEscrow
    function stateOf(uint256 jobId) external view returns (JobState memory) {
        Stored storage job = _jobs[jobId];
        Work memory work = _existing(job, jobId);
        Money memory money = job.money;
        return JobState(
            money.client, work.provider, job.evaluator, job.hook, money.budget, work.expiredAt, work.status
        );
    }

    /// @inheritdoc IJobOutcomes
    /// @dev A job that nobody completed has a part of zero, so nothing was paid for it.
    function jobOutcome(uint256 jobId) external view returns (address, address, address, uint128, bool) {
        Stored storage job = _jobs[jobId];
        Work memory work = _existing(job, jobId);
        Money memory money = job.money;
        (uint256 part, uint256 fee) = _partOf(money.budget, work.providerBps);
        bool terminal = work.status != JobStatus.Open && !_holds(work.status);
        return (money.client, work.provider, token, uint128(part - fee), terminal);
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == type(IERC165).interfaceId || interfaceId == type(IERC8183).interfaceId
            || interfaceId == type(IJobEscrow).interfaceId || interfaceId == type(IJobOutcomes).interfaceId;
    }

    /// @inheritdoc IJobEscrow
    function getHireDigest(address client, HireTerms calldata terms) public view returns (bytes32) {
        return _hashTypedDataV4(JobTypes.hashHire(client, terms));
    }

    /// @inheritdoc IJobEscrow
    function getSubmissionDigest(uint256 jobId, bytes32 deliverable, bytes calldata optParams, uint256 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(JobTypes.hashVerb(JobTypes.SUBMISSION, jobId, deliverable, optParams, deadline));
    }

    /// @inheritdoc IJobEscrow
    function getCompletionDigest(uint256 jobId, bytes32 reason, bytes calldata optParams, uint256 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(JobTypes.hashVerb(JobTypes.COMPLETION, jobId, reason, optParams, deadline));
    }

    /// @inheritdoc IJobEscrow
    function getRejectionDigest(uint256 jobId, bytes32 reason, bytes calldata optParams, uint256 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(JobTypes.hashVerb(JobTypes.REJECTION, jobId, reason, optParams, deadline));
    }

    /// @dev ECDSA for accounts without code, ERC-1271 for those with (wallets, EIP-7702 accounts).
    function _requireSignature(address signer, bytes32 digest, uint256 deadline, bytes calldata signature) private view {
        require(block.timestamp <= deadline, SignatureExpired(deadline, block.timestamp));
        require(SignatureChecker.isValidSignatureNowCalldata(signer, digest, signature), InvalidSignature(signer));
    }
}
